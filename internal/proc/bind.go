package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bind is a file that a program sees in place of another one. Both have to be there, and the paths absolute. What is written
// to From in place is seen at once; a file that is renamed over From is not.
type Bind struct{ From, To string }

// CanBind says why no program on this machine can be given a file in place of path, or nil when it can. It tries with a
// program that does nothing.
func CanBind(ctx context.Context, path string) (err error) {
	program, err := exec.LookPath("true")
	if err != nil {
		return fmt.Errorf("the program true, to try it with: %w", err)
	}
	dir, err := os.MkdirTemp("", "squall-bind-")
	if err != nil {
		return fmt.Errorf("folder to try it in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	group := NewGroup(nil)
	defer func() { err = errors.Join(err, group.StopAll(context.WithoutCancel(ctx))) }()
	p, err := group.Start(ctx, Spec{
		Name: "a program with another " + path, Path: program, LogFile: filepath.Join(dir, "log"), Binds: []Bind{{path, path}},
	})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), p.Kill(context.WithoutCancel(ctx)))
	}
	var exit *ExitError
	if errors.As(p.Err(), &exit) {
		group.forget(p)
		return fmt.Errorf("%s: %s", exit.Status, strings.ReplaceAll(exit.Tail, "\n", "; ")) // the log is about to go
	}
	return p.Err()
}

// wrap makes cmd bind the files first and then become the program, by way of the programs of util-linux: Go cannot do
// anything of its own between fork and exec. To mount takes user 0 of the namespace; a user who is another one becomes
// himself again in a second namespace.
func wrap(cmd *exec.Cmd, binds []Bind) error {
	program, err := executable(cmd)
	if err != nil {
		return err
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		return fmt.Errorf("to show it other files: %w", err)
	}
	mount, err := exec.LookPath("mount")
	if err != nil {
		return fmt.Errorf("to show it other files: %w (util-linux has it)", err)
	}
	args := []string{mount}
	var script strings.Builder
	for i, b := range binds {
		fmt.Fprintf(&script, `"$1" -n --bind "${%d}" "${%d}" && `, 2*i+2, 2*i+3)
		args = append(args, b.From, b.To)
	}
	fmt.Fprintf(&script, `shift %d && unset OLDPWD PWD SHLVL && exec "$@"`, len(args))
	inherited, odd := splitEnv(cmd.Environ())
	if len(odd) > 0 {
		env, err := exec.LookPath("env")
		if err != nil {
			return fmt.Errorf("to give it variables that a shell does not know: %w", err)
		}
		args = append(append(args, env), odd...)
	}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		unshare, err := exec.LookPath("unshare")
		if err != nil {
			return fmt.Errorf("to show it other files: %w (util-linux has it)", err)
		}
		args = append(args, unshare, "--user", "--map-user="+strconv.Itoa(uid), "--map-group="+strconv.Itoa(gid), "--")
	} else if len(odd) > 0 && strings.Contains(program, "=") {
		return fmt.Errorf("the path %s has a =, which env takes for a variable: move the program", program)
	}
	args = append(append(args, program), cmd.Args[1:]...)
	cmd.Path, cmd.Args, cmd.Env = sh, append([]string{"sh", "-c", script.String(), "sh"}, args...), inherited
	return nil
}

// executable is the absolute path of cmd's program, or the error that starting it would give.
func executable(cmd *exec.Cmd) (string, error) {
	if cmd.Err != nil {
		return "", cmd.Err
	}
	path := cmd.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(cmd.Dir, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return exec.LookPath(path)
}

// splitEnv parts the variables that a shell hands on as they are from those that it drops or changes, as names with dots.
func splitEnv(env []string) (inherited, odd []string) {
	name := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	own := []string{"_", "ENV", "IFS", "OLDPWD", "OPTARG", "OPTIND", "PPID", "PS1", "PS2", "PS4", "PWD", "SHLVL", "BASHOPTS", "SHELLOPTS", "EUID", "UID"}
	for _, kv := range env {
		if k, _, _ := strings.Cut(kv, "="); name.MatchString(k) && !slices.Contains(own, k) {
			inherited = append(inherited, kv)
		} else {
			odd = append(odd, kv)
		}
	}
	return inherited, odd
}
