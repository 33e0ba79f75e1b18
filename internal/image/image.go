// Package image makes container images of static Go programs without a Docker daemon, and hands them over as archives or to a
// registry.
//
// An image is the program alone, run by the user 65532, on an empty base. The same program gives the same image, byte for byte, and
// the image's tag is taken from its content: a node or registry that has the tag has the image.
package image

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// User is the user and group that a program runs as.
const User = 65532

const (
	host       = "docker.io" // of the images' names; nothing is ever pulled from there
	tagDigits  = 12          // of the content's digest, in the tag
	tagPrefix  = "sha-"
	pushTries  = 3
	pushPause  = 500 * time.Millisecond
	labelTitle = "org.opencontainers.image.title"
	labelVer   = "org.opencontainers.image.version"
)

// Program is what an image is made of.
type Program struct {
	Name    string   // of the image, without registry and tag: "squall/bookinfo"
	Path    string   // the file: a static program for Linux
	Version string   // for the image's label
	Args    []string // in place of which a container gives its own
	Env     []string // KEY=VALUE
	CACerts []byte   // certificates in PEM for the program's TLS clients; none when empty
}

// Image is a container image in memory.
type Image struct {
	Name   string // without registry and tag: "squall/bookinfo"
	Ref    string // what a manifest names: "docker.io/squall/bookinfo:sha-0123456789ab"
	Digest string // of its configuration, which a node lists as the image's id: "sha256:…"

	image v1.Image
}

// Build makes the image of a program. An error says which file is at fault and why.
func Build(p Program) (Image, error) {
	text, err := os.ReadFile(p.Path)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", p.Name, err)
	}
	arch, err := architecture(text)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %s: %w: build it with GOOS=linux CGO_ENABLED=0", p.Name, p.Path, err)
	}
	program := path.Base(p.Name)
	layer, err := pack(program, text, p.CACerts)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", p.Name, err)
	}
	raw, err := json.Marshal(config(p, program, arch, layer.digest))
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", p.Name, err)
	}
	img, err := partial.UncompressedToImage(content{raw, layer})
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", p.Name, err)
	}
	digest, err := img.ConfigName()
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", p.Name, err)
	}
	return Image{
		Name: p.Name, Ref: fmt.Sprintf("%s/%s:%s%s", host, p.Name, tagPrefix, digest.Hex[:tagDigits]), Digest: digest.String(), image: img,
	}, nil
}

// config is how the image is run.
func config(p Program, program, arch string, layer v1.Hash) *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: arch, OS: "linux", Author: "squall",
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layer}},
		Config: v1.Config{
			User: fmt.Sprintf("%d:%d", User, User), Entrypoint: []string{"/" + program}, Cmd: p.Args, WorkingDir: "/",
			Env:    append([]string{"PATH=/", "HOME=/tmp"}, p.Env...),
			Labels: map[string]string{labelTitle: p.Name, labelVer: p.Version},
		},
	}
}

// architecture is what a static program for Linux runs on, in Go's words.
func architecture(program []byte) (string, error) {
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return "", fmt.Errorf("it is no program for Linux: %w", err)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return "", errors.New("it is not static, and an image has no libraries")
		}
	}
	switch {
	case file.Machine == elf.EM_X86_64:
		return "amd64", nil
	case file.Machine == elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("nothing is known about its machine, %v", file.Machine)
}

// Mapping leads from the images' names, without registry and tag, to what a manifest has to name in their place. Resolve uses it.
func Mapping(images []Image) map[string]string {
	out := map[string]string{}
	for _, i := range images {
		out[i.Name] = i.Ref
	}
	return out
}

// Resolve is what to write in a manifest in place of ref: the mapping's image of that name, whatever registry and tag ref has; else
// ref itself.
func Resolve(mapping map[string]string, ref string) string {
	if to, ok := mapping[Name(ref)]; ok {
		return to
	}
	return ref
}

// Name is an image without registry, tag and digest: "squall/bookinfo" of "docker.io/squall/bookinfo:1.0.0". One that cannot be
// parsed is returned as it is.
func Name(ref string) string {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return ref
	}
	return strings.TrimPrefix(parsed.Context().RepositoryStr(), "library/")
}

// Archive writes the image as a docker archive, as docker save would.
func (i Image) Archive(file string) (err error) {
	tag, err := name.NewTag(i.Ref)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Name, err)
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("archive of image %s: %w", i.Name, err)
	}
	if err := errors.Join(tarball.Write(tag, i.image, out), out.Close()); err != nil {
		return fmt.Errorf("archive of image %s: %w", i.Name, err)
	}
	return nil
}

// Push writes the image to a registry and returns what a manifest has to name. repo is the registry with a folder, such as
// "registry.example.com/team"; the image's own name is put behind it. Who may push is read where docker login writes it. What the
// registry has already is not sent again.
func (i Image) Push(ctx context.Context, repo string) (ref string, err error) {
	_, tag, _ := strings.Cut(i.Ref, i.Name+":")
	ref = strings.TrimSuffix(repo, "/") + "/" + i.Name + ":" + tag
	to, err := name.NewTag(ref)
	if err != nil {
		return "", fmt.Errorf("image %s: %q is no place in a registry: %w: write it as registry.example.com/team", i.Name, repo, err)
	}
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithRetryBackoff(remote.Backoff{Duration: pushPause, Factor: 2, Steps: pushTries}),
	}
	if err := remote.Write(to, i.image, options...); err != nil {
		return "", fmt.Errorf("push image %s: %w%s", ref, err, pushFix(err, to.RegistryStr()))
	}
	return ref, nil
}

// pushFix is what to do about a failed push.
func pushFix(err error, registry string) string {
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return ": check the registry's name and the network"
	}
	if refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden {
		return ": docker login " + registry + " with a user who may push there"
	}
	return ""
}

// ParseMapping reads IMAGE=IMAGE[,IMAGE=IMAGE…]: what is named on the left, whatever its registry and tag, is what is named on the right.
func ParseMapping(text string) (map[string]string, error) {
	out := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		from, to, ok := strings.Cut(part, "=")
		if !ok || from == "" || to == "" {
			return nil, fmt.Errorf("%q is not IMAGE=IMAGE", part)
		}
		out[Name(from)] = to
	}
	return out, nil
}
