package proc

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bound is a Squall that gives a shell another file in place of the first argument, as the user that it is.
func bound(args []string) int {
	if err := CanBind(context.Background(), args[0]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 90
	}
	for _, argv := range [][]string{{"cat", args[0]}, {"id", "-u"}, {"id", "-g"}, {"env"}} {
		spec := Spec{
			Name: argv[0], Path: argv[0], Args: argv[1:], Dir: "/", Binds: []Bind{{args[1], args[0]}}, Env: boundEnv(),
			Stdout: func(r io.Reader) error { _, err := io.Copy(os.Stdout, r); return err },
		}
		p, err := NewGroup(nil).Start(context.Background(), spec)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 89
		}
		<-p.Done()
		if p.Err() != nil || !p.Contained() {
			fmt.Fprintln(os.Stderr, p.Err(), p.Contained())
			return 88
		}
	}
	return 0
}

func boundEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "PLAIN=two words", "PS1=prompt", "a.b=dotted value"}
}

// A program sees the other file, is the user who runs Squall, and gets its variables; the machine sees none of it.
func TestBinds(t *testing.T) {
	const nobody = 65534
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("of the program\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	uids := []int{os.Getuid()}
	if os.Getuid() == 0 {
		uids = append(uids, nobody)
	}
	for _, uid := range uids {
		t.Run("user "+strconv.Itoa(uid), func(t *testing.T) {
			from, gid := file, os.Getgid()
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "/etc/hosts")
			if uid != os.Getuid() {
				gid = uid
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
				f, err := os.CreateTemp("", "squall-file-") //nolint:usetesting // t.TempDir is in a folder that only this user may enter
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.Remove(f.Name()) })
				if _, err := f.WriteString("of the program\n"); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				if err := os.Chown(f.Name(), uid, gid); err != nil {
					t.Fatal(err)
				}
				from = f.Name()
			}
			cmd.Args = append(cmd.Args, from)
			cmd.Env = []string{helperEnv + "=bound", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got := strings.Split(strings.TrimSpace(string(out)), "\n")
			want := []string{"of the program", strconv.Itoa(uid), strconv.Itoa(gid)}
			got = slices.DeleteFunc(got, func(kv string) bool { return strings.HasPrefix(kv, "_=") }) // bash says who was called
			slices.Sort(got[min(3, len(got)):])
			if want = append(want, boundEnv()...); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if after, err := os.ReadFile("/etc/hosts"); err != nil || string(after) != string(before) {
		t.Errorf("the machine's own file is now %q, %v", after, err)
	}
}

func TestBindsThatCannotBe(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	if err := CanBind(t.Context(), absent); err == nil || !strings.Contains(err.Error(), absent) || strings.Contains(err.Error(), "squall-bind-") {
		t.Errorf("CanBind of a file that is not there: %v", err)
	}
	g := newGroup(t, nil)
	hosts := []Bind{{"/etc/hosts", "/etc/hosts"}}
	for name, spec := range map[string]Spec{
		"absolute": {Name: "x", Path: "/nonexistent/x", Binds: hosts},
		"in PATH":  {Name: "x", Path: "nonexistent-program", Binds: hosts},
		"in Dir":   {Name: "x", Path: "./x", Dir: t.TempDir(), Binds: hosts},
	} {
		if p, err := g.Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "start x") {
			t.Errorf("%s: Start = %v, %v", name, p, err)
		}
	}
	spec := Spec{Name: "x", Path: "true", Binds: []Bind{{absent, "/etc/hosts"}}, LogFile: filepath.Join(t.TempDir(), "log")}
	p := start(t, g, spec)
	if exit := awaitDone(t, p); exit.Err == nil || !strings.Contains(exit.Err.Error(), absent) {
		t.Errorf("a program without its file: %v", exit.Err)
	}
}

// What a program with files of its own starts ends with it, and with Squall.
func TestBoundGrandchildEndsWithSquall(t *testing.T) {
	r := newRoll(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, r.path)
	cmd.Env = []string{helperEnv + "=boundparent", "PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.await(t, "parent", "forker", "stubborn")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the parent ended well")
	}
	r.awaitDead(t)
}

// BenchmarkStart is the time from Start to the end of a program that does nothing.
func BenchmarkStart(b *testing.B) {
	for name, binds := range map[string][]Bind{"plain": nil, "bound": {{"/etc/hosts", "/etc/hosts"}}} {
		b.Run(name, func(b *testing.B) {
			g := NewGroup(nil)
			for b.Loop() {
				p, err := g.Start(b.Context(), Spec{Name: "true", Path: "true", Contain: true, Binds: binds})
				if err != nil {
					b.Fatal(err)
				}
				<-p.Done()
			}
			if err := g.StopAll(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// A contained program without a handler for SIGTERM ends at once, as it would without containment: the kernel drops the signal for
// the first process of a namespace, also when it comes before the program has set its handler up.
func TestStopOfAContainedProgramWithoutHandler(t *testing.T) {
	g := NewGroup(nil)
	t.Cleanup(func() {
		if err := g.StopAll(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for _, binds := range [][]Bind{nil, {{"/etc/hosts", "/etc/hosts"}}} {
		p, err := g.Start(t.Context(), Spec{Name: "sleep", Path: "sleep", Args: []string{"60"}, Contain: true, Binds: binds, Grace: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if !p.Contained() {
			t.Fatal("this machine allows no PID namespace, so that nothing was tested")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := p.Stop(ctx); err != nil || ctx.Err() != nil {
			t.Errorf("stop: %v, %v", err, ctx.Err())
		}
	}
}
