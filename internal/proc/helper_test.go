package proc

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

const helperEnv = "SQUALL_PROC_HELPER"

// TestMain is also the program that the tests start.
func TestMain(m *testing.M) {
	if mode := os.Getenv(helperEnv); mode != "" {
		os.Exit(helper(mode, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// helper plays one child. Modes that stay report on the FIFO that is their first argument, and hold it open until they die.
func helper(mode string, args []string) int {
	switch mode {
	case "fail":
		for i := range 20 {
			fmt.Fprintf(os.Stderr, "line %d\n", i)
		}
		return 3
	case "lowlimit":
		return lowLimit()
	case "print":
		fmt.Println(strings.Join(args, "\n"))
		return 0
	case "polite":
		return stay(args[0], "polite", func(term <-chan os.Signal) int { <-term; return 7 })
	case "stubborn":
		return stay(args[0], "stubborn", func(<-chan os.Signal) int { select {} })
	case "forker":
		return fork(args[0])
	case "bound":
		return bound(args)
	case "pausing":
		return pausing(args[0])
	case "parent", "boundparent":
		return parent(args[0], mode == "boundparent")
	}
	fmt.Fprintln(os.Stderr, "unknown mode", mode)
	return 99
}

// stay reports name on the FIFO once SIGTERM is caught, and then waits.
func stay(fifo, name string, wait func(<-chan os.Signal) int) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	fmt.Fprintln(f, name)
	code := wait(term)
	if err := f.Close(); err != nil {
		return 97
	}
	return code
}

// fork starts a grandchild that nobody watches, in a session of its own as a daemon would be, and stays.
func fork(fifo string) int {
	attr := &os.ProcAttr{Env: []string{helperEnv + "=stubborn"}, Sys: &syscall.SysProcAttr{Setsid: true}}
	if _, err := os.StartProcess("/proc/self/exe", []string{"grandchild", fifo}, attr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 96
	}
	return stay(fifo, "forker", func(term <-chan os.Signal) int { <-term; return 0 })
}

// parent starts children as Squall does, or only one that has files of its own, and waits to be killed.
func parent(fifo string, binds bool) int {
	g := NewGroup(nil)
	modes := []string{"polite", "stubborn", "forker"}
	if binds {
		modes = modes[2:]
	}
	for _, mode := range modes {
		spec := helperSpec(mode, fifo)
		spec.Contain = mode == "forker"
		if binds {
			spec.Path, spec.Binds = os.Args[0], []Bind{{"/etc/hosts", "/etc/hosts"}} // not /proc/self/exe, which is the shell then
		}
		if _, err := g.Start(context.Background(), spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 95
		}
	}
	return stay(fifo, "parent", func(<-chan os.Signal) int { select {} })
}

// pausing starts children, contained and not, and pauses them at SIGTERM.
func pausing(fifo string) int {
	g := NewGroup(nil)
	var children []*Process
	for _, contain := range []bool{false, true} {
		spec := helperSpec("polite", fifo)
		spec.Contain = contain
		p, err := g.Start(context.Background(), spec)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 94
		}
		children = append(children, p)
	}
	return stay(fifo, "parent", func(term <-chan os.Signal) int {
		<-term
		for _, p := range children {
			if err := p.Pause(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 94
			}
		}
		return stay(fifo, "paused", func(<-chan os.Signal) int { select {} })
	})
}

// helperSpec is this test program in another role.
func helperSpec(mode string, args ...string) Spec {
	return Spec{Name: mode, Path: "/proc/self/exe", Args: args, Env: []string{helperEnv + "=" + mode}, Grace: 10 * time.Second}
}

// lowLimit is a Squall in a shell with a low soft limit of open files: it prints the limits of a child and its own.
func lowLimit() int {
	var read []byte
	g := NewGroup(nil)
	spec := Spec{Name: "sh", Path: "/bin/sh", Args: []string{"-c", "ulimit -Sn"}}
	spec.Stdout = func(r io.Reader) (err error) { read, err = io.ReadAll(r); return err }
	p, err := g.Start(context.Background(), spec)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 93
	}
	<-p.Done()
	var own syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 92
	}
	fmt.Println(strings.TrimSpace(string(read)), own.Cur)
	return 0
}
