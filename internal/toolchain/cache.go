package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const lockPoll = 100 * time.Millisecond

// entry is a program's place in the cache: a folder with the program and its stamp, which appears as a whole.
type entry struct {
	name Name
	dir  string
	log  string // what its builder printed
}

// stamp says what a program was when it was found good.
type stamp struct {
	Size    int64     `json:"size"`
	ModTime time.Time `json:"modTime"`
	Version string    `json:"version"`
}

// entry returns the place of r, which its pins and this machine's kind decide.
func (in *installer) entry(r recipe) (entry, error) {
	h := sha256.New()
	for _, pin := range r.pins {
		if err := hashPin(h, in.opts.Root, pin); err != nil {
			return entry{}, &Error{r.name, "run squall in a complete checkout of the project.", fmt.Errorf("read its pin: %w", err)}
		}
	}
	fmt.Fprintf(h, "%s %s/%s", r.pkg, in.goos, runtime.GOARCH)
	if r.name == Istioctl { // its flags say what it installs; those of the others say nothing that their pins do not
		fmt.Fprint(h, r.flags)
	}
	id := fmt.Sprintf("%s-%s", r.name, hex.EncodeToString(h.Sum(nil))[:16])
	return entry{r.name, filepath.Join(in.cache, "bin", id), filepath.Join(in.cache, "log", id+".log")}, nil
}

// hashPin adds a file to h, or all files of a folder but those of tests.
func hashPin(h io.Writer, root, pin string) error {
	return filepath.WalkDir(filepath.Join(root, pin), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%s %d\n%s", filepath.ToSlash(name), len(text), text)
		return err
	})
}

// program is the path of the program.
func (e entry) program() string { return filepath.Join(e.dir, string(e.name)) }

// unfinished is the folder where the entry is made, by one run at a time, under the entry's lock.
func (e entry) unfinished() string { return e.dir + ".tmp" }

// read reports whether the program is there and is the one that was found good, and its version.
func (e entry) read() (version string, ok bool) {
	return readStamp(e.program(), filepath.Join(e.dir, "stamp.json"))
}

// fill makes the entry from what build leaves in a new folder, at once or not at all.
func (e entry) fill(build func(dir string) (version string, err error)) (version string, err error) {
	tmp := e.unfinished()
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755), os.MkdirAll(filepath.Dir(e.log), 0o755)); err != nil {
		return "", explain(recipe{name: e.name}, err, "")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if version, err = build(tmp); err != nil {
		return "", err
	}
	err = writeStamp(filepath.Join(tmp, string(e.name)), filepath.Join(tmp, "stamp.json"), version)
	if err = errors.Join(err, os.RemoveAll(e.dir)); err == nil {
		err = os.Rename(tmp, e.dir)
	}
	if err != nil {
		return "", explain(recipe{name: e.name}, err, "")
	}
	return version, nil
}

// readStamp reports whether the file at path is the one that the stamp was written for, and the stamp's version.
func readStamp(path, stampPath string) (version string, ok bool) {
	text, err := os.ReadFile(stampPath)
	if err != nil {
		return "", false
	}
	var s stamp
	if err := json.Unmarshal(text, &s); err != nil || s.Version == "" {
		return "", false
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != s.Size || !info.ModTime().Equal(s.ModTime) || !executable(info) {
		return "", false
	}
	return s.Version, true
}

// writeStamp records the file at path as good.
func writeStamp(path, stampPath, version string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	text, err := json.Marshal(stamp{info.Size(), info.ModTime(), version})
	if err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.%d", stampPath, os.Getpid())
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, stampPath)
}

// executable reports whether info is of a program.
func executable(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// lock waits until no other run makes the same entry. The kernel drops the lock of a run that dies.
func (in *installer) lock(ctx context.Context, r recipe, e entry) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(e.dir), 0o755); err != nil {
		return nil, err
	}
	return Lock(ctx, e.dir+".lock", 0o644, func() func(error) {
		return in.track(r, func() string { return fmt.Sprintf("waiting for another run that makes %s ready", r.name) })
	})
}

// Lock waits until no other process holds the lock of that file, which is made with the mode when it is not there. The kernel drops the
// lock of a process that dies. waiting is called when there is something to wait for; what it returns, when that is over.
func Lock(ctx context.Context, path string, mode fs.FileMode, waiting func() (done func(error))) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, mode)
	if err != nil {
		return nil, err
	}
	locked, err := tryLock(f)
	if locked {
		return f.Close, nil
	}
	done := waiting()
	defer func() { done(err) }()
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-ticker.C:
		}
		if locked, err = tryLock(f); locked {
			return f.Close, nil
		}
	}
	return nil, errors.Join(err, f.Close())
}

// tryLock takes the lock if it is free.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return true, nil
}
