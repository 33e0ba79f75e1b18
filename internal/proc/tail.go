package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const tailBytes = 64 << 10

// tail returns the last n lines of a file, at most tailBytes of them, without the last newline.
func tail(path string, n int) (text string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the end of a log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("read the end of a log: %w", err)
	}
	start := max(0, size-tailBytes)
	b, err := io.ReadAll(io.NewSectionReader(f, start, size-start))
	if err != nil {
		return "", fmt.Errorf("read the end of a log: %w", err)
	}
	return lastLines(b, n), nil
}

// lastLines returns the last n lines of b without the newline at its end.
func lastLines(b []byte, n int) string {
	b = bytes.TrimRight(b, "\n")
	if n <= 0 {
		return ""
	}
	i := len(b)
	for ; n > 0 && i >= 0; n-- {
		i = bytes.LastIndexByte(b[:i], '\n')
	}
	return string(b[i+1:])
}
