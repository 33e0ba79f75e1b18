package proc

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// A process that is paused hears nothing until it goes on, or is asked to end.
func TestPause(t *testing.T) {
	for _, contain := range []bool{false, true} {
		r, g := newRoll(t), newGroup(t, nil)
		spec := helperSpec("polite", r.path)
		spec.Contain = contain
		p := start(t, g, spec)
		r.await(t, "polite")
		if p.Paused() {
			t.Fatal("it is paused before it was asked to")
		}
		for range 2 {
			if err := p.Pause(); err != nil || !p.Paused() {
				t.Fatalf("paused %v: %v", p.Paused(), err)
			}
			if err := p.Resume(); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if code := awaitDone(t, p).State.ExitCode(); code != 7 {
			t.Errorf("exit code %d, want 7 (ended by SIGTERM): %v", code, p.Err())
		}
		if err := p.Pause(); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("pause after the end: %v", err)
		}
		if err := p.Resume(); err != nil {
			t.Errorf("resume after the end: %v", err)
		}
		r.awaitDead(t)
	}
}

// One that is killed while it is paused ends, and is no process that stays paused.
func TestKillPaused(t *testing.T) {
	r, g := newRoll(t), newGroup(t, nil)
	p := start(t, g, helperSpec("stubborn", r.path))
	r.await(t, "stubborn")
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(t.Context()); err != nil || p.Paused() {
		t.Fatalf("paused %v: %v", p.Paused(), err)
	}
	r.awaitDead(t)
}

// Children that are paused die with a parent that is killed.
func TestPausedChildrenDieWithKilledParent(t *testing.T) {
	r := newRoll(t)
	cmd := exec.Command("/proc/self/exe", r.path)
	cmd.Env = []string{helperEnv + "=pausing"}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.await(t, "polite", "polite", "parent")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.await(t, "paused")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the killed parent ended well")
	}
	r.awaitDead(t)
}
