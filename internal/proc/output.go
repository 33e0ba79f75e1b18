package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// output is where a child writes: its log file, and the pipe to the reader of its standard output.
type output struct {
	log     *os.File
	r, w    *os.File
	read    func(io.Reader) error
	readErr chan error
}

// openOutput connects cmd's output as spec says.
func openOutput(cmd *exec.Cmd, spec Spec) (*output, error) {
	o := &output{read: spec.Stdout, readErr: make(chan error, 1)}
	if spec.LogFile != "" {
		f, err := os.OpenFile(spec.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the log of %s: %w", spec.Name, err)
		}
		o.log = f
		cmd.Stdout, cmd.Stderr = f, f
	}
	if spec.Stdout != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make the output pipe of %s: %w", spec.Name, err), o.closeChildEnds())
		}
		growPipe(w)
		o.r, o.w = r, w
		cmd.Stdout = w
	}
	return o, nil
}

// closeChildEnds closes what only the child needs.
func (o *output) closeChildEnds() error {
	var errs []error
	for _, f := range []*os.File{o.log, o.w} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	o.log, o.w = nil, nil
	return errors.Join(errs...)
}

// abandon closes everything, for a child that did not start.
func (o *output) abandon() error {
	err := o.closeChildEnds()
	if o.r != nil {
		err = errors.Join(err, o.r.Close())
	}
	return err
}

// start runs the reader.
func (o *output) start() {
	if o.read == nil {
		o.readErr <- nil
		return
	}
	go func() {
		err := o.read(o.r)
		_, drained := io.Copy(io.Discard, o.r)
		o.readErr <- errors.Join(err, drained)
	}()
}

// finish waits for the reader after the child's end, and says if it failed. A pipe that something else keeps open is cut.
func (o *output) finish() error {
	if o.r == nil {
		return nil
	}
	deadline := o.r.SetReadDeadline(time.Now().Add(drainWait))
	err := <-o.readErr
	if err = errors.Join(err, deadline, o.r.Close()); err != nil {
		return fmt.Errorf("read its output: %w", err)
	}
	return nil
}
