// Package elasticsearch runs a real Elasticsearch on a loopback address, for tests and for scenarios that bring none of their own. Its
// version is pinned by hash in tools/elasticsearch; it is fetched once and kept.
package elasticsearch

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"squall/internal/proc"
	"squall/internal/toolchain"
)

const pinFile = "tools/elasticsearch/artifact.txt"

// pin is the one version.
type pin struct{ artifact, sha256 string }

// version is that of the artifact: group:name:version:packaging.
func (p pin) version() string { return strings.Split(p.artifact, ":")[2] }

// readPin reads what root's pin says.
func readPin(root string) (p pin, err error) {
	text, err := os.ReadFile(filepath.Join(root, pinFile))
	if err != nil {
		return p, fmt.Errorf("Elasticsearch's pin: %w: run in a complete checkout of the project", err) //nolint:staticcheck // a name
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch sum, is := strings.CutPrefix(line, "sha256:"); {
		case line == "" || line[0] == '#':
		case is:
			p.sha256 = sum
		default:
			p.artifact = line
		}
	}
	if strings.Count(p.artifact, ":") != 3 || len(p.sha256) != 2*sha256.Size {
		return p, fmt.Errorf("%s pins no artifact group:name:version:zip with its sha256: restore the file", pinFile)
	}
	return p, nil
}

// Fetch returns Elasticsearch's folder, after fetching it with Maven where it is not there yet. Root is the project's folder.
func Fetch(ctx context.Context, root string, progress func(toolchain.Update)) (home string, err error) {
	p, err := readPin(root)
	if err != nil {
		return "", err
	}
	if home, err = homeOf(p); err != nil || complete(home) {
		return home, err
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return "", fmt.Errorf("fetch Elasticsearch: %w", err)
	}
	if progress == nil {
		progress = func(toolchain.Update) {}
	}
	track := func(activity string) func(error) {
		return toolchain.Track(progress, toolchain.Update{Tool: "elasticsearch", Activity: activity}, func() string { return "" })
	}
	unlock, err := toolchain.Lock(ctx, home+".lock", 0o644, func() func(error) { return track("waiting for another run that fetches Elasticsearch") })
	if err != nil {
		return "", fmt.Errorf("fetch Elasticsearch: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if complete(home) {
		return home, nil
	}
	done := track(fmt.Sprintf("fetching Elasticsearch %s (first time only, a download of 99 MB)", p.version()))
	err = fetch(ctx, p, home)
	done(err)
	return home, err
}

// homeOf is where what the pin says is kept.
func homeOf(p pin) (string, error) {
	cache, err := cacheDir()
	return filepath.Join(cache, "elasticsearch-"+p.sha256[:16]), err
}

// cacheDir is where another user than root can read, if it is root who runs this: Elasticsearch does not run as root.
func cacheDir() (string, error) {
	if os.Getuid() == 0 {
		return "/var/cache/squall", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder to keep Elasticsearch in: %w: set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(dir, "squall", "bin"), nil
}

// complete reports whether a folder was filled to the end: it is renamed then.
func complete(home string) bool {
	_, err := os.Stat(filepath.Join(home, "bin", "elasticsearch"))
	return err == nil
}

var errNoMaven = errors.New("Maven's mvn is not in PATH: install it (on Debian: apt-get install maven)") //nolint:staticcheck // a name

// fetch fills the folder at once or not at all.
func fetch(ctx context.Context, p pin, home string) (err error) {
	maven, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("fetch Elasticsearch: %w, or give the URL of an Elasticsearch that runs", errNoMaven)
	}
	tmp := home + ".tmp"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return fmt.Errorf("fetch Elasticsearch: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	group := proc.NewGroup(nil)
	defer func() { err = errors.Join(err, group.StopAll(context.WithoutCancel(ctx))) }()
	log := filepath.Join(filepath.Dir(home), "elasticsearch-fetch.log")
	run, err := group.Start(ctx, proc.Spec{Name: "mvn dependency:copy", Path: maven, Dir: tmp, LogFile: log, Args: []string{
		"--batch-mode", "--no-transfer-progress", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy", "-Dartifact=" + p.artifact, "-DoutputDirectory=" + tmp,
	}})
	if err != nil {
		return fmt.Errorf("fetch Elasticsearch: %w", err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("fetch Elasticsearch: %w", context.Cause(ctx))
	case <-run.Done():
	}
	if err := run.Err(); err != nil {
		return fmt.Errorf("fetch Elasticsearch: %w; Maven must reach its repository, see %s", err, log)
	}
	archives, err := filepath.Glob(filepath.Join(tmp, "*.zip"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("fetch Elasticsearch: Maven left %d archives, want 1", len(archives))
	}
	return unpack(archives[0], p, home)
}

// unpack checks the archive and makes home of the folder in it.
func unpack(archive string, p pin, home string) (err error) {
	if err := checkSum(archive, p.sha256); err != nil {
		return err
	}
	r, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("unpack Elasticsearch: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	into := filepath.Join(filepath.Dir(archive), "unpacked")
	for _, f := range r.File {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("unpack Elasticsearch: the archive has a file %q outside of it", f.Name)
		}
		if err := extract(f, filepath.Join(into, f.Name)); err != nil {
			return fmt.Errorf("unpack Elasticsearch: %w", err)
		}
	}
	if err := os.Rename(filepath.Join(into, "elasticsearch-"+p.version()), home); err != nil {
		return fmt.Errorf("unpack Elasticsearch: %w", err)
	}
	return nil
}

func checkSum(path, want string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("what was served as Elasticsearch is not what %s pins: its sha256 is %s; look for a mirror that changes files, and do not work around this", pinFile, got)
	}
	return nil
}

func extract(f *zip.File, path string) (err error) {
	if strings.HasSuffix(f.Name, "/") {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	mode := fs.FileMode(0o644)
	if strings.Contains(f.Name, "/bin/") {
		mode = 0o755
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
