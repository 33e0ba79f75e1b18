package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// content is an image of one layer. It is compressed when it is written, so that an image whose tag alone is asked for costs nothing
// but a digest.
type content struct {
	config []byte
	layer  packed
}

// RawConfigFile returns the configuration, whose digest is the image's id.
func (c content) RawConfigFile() ([]byte, error) { return c.config, nil }

// MediaType returns Docker's own, which all nodes and registries take.
func (c content) MediaType() (types.MediaType, error) { return types.DockerManifestSchema2, nil }

// LayerByDiffID returns the layer.
func (c content) LayerByDiffID(h v1.Hash) (partial.UncompressedLayer, error) {
	if h != c.layer.digest {
		return nil, fmt.Errorf("the image has no layer %s", h)
	}
	return c.layer, nil
}

// packed is the layer.
type packed struct {
	text   []byte
	digest v1.Hash
}

// DiffID returns the digest of the files.
func (p packed) DiffID() (v1.Hash, error) { return p.digest, nil }

// Uncompressed returns the files as a tar archive.
func (p packed) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(p.text)), nil
}

// MediaType returns Docker's own, which all nodes and registries take.
func (p packed) MediaType() (types.MediaType, error) { return types.DockerLayer, nil }

// pack makes the layer of a program: the program, a folder for temporary files, and who the user is.
func pack(program string, text, certs []byte) (packed, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	who := fmt.Sprintf("root:x:0:0:root:/:/\nsquall:x:%d:%d:squall:/tmp:/\n", User, User)
	group := fmt.Sprintf("root:x:0:\nsquall:x:%d:\n", User)
	entries := []entry{
		{"etc/", 0o755, nil}, {"etc/group", 0o644, []byte(group)}, {"etc/passwd", 0o644, []byte(who)},
		{"tmp/", 0o1777, nil}, {program, 0o755, text},
	}
	if len(certs) > 0 {
		entries = append(entries, entry{"etc/ssl/", 0o755, nil}, entry{"etc/ssl/certs/", 0o755, nil},
			entry{"etc/ssl/certs/ca-certificates.crt", 0o644, certs})
	}
	for _, e := range entries {
		if err := e.write(w); err != nil {
			return packed{}, fmt.Errorf("pack %s: %w", e.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return packed{}, fmt.Errorf("pack the layer: %w", err)
	}
	digest, _, err := v1.SHA256(bytes.NewReader(b.Bytes()))
	if err != nil {
		return packed{}, fmt.Errorf("digest of the layer: %w", err)
	}
	return packed{b.Bytes(), digest}, nil
}

// entry is a file of a layer, or a folder when its path ends with a slash. Files have no times and no owners but root: nothing of
// the machine that made them.
type entry struct {
	path string
	mode int64
	text []byte
}

func (e entry) write(w *tar.Writer) error {
	h := &tar.Header{
		Name: path.Clean(e.path), Mode: e.mode, Size: int64(len(e.text)), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0).UTC(),
		Format: tar.FormatUSTAR,
	}
	if e.text == nil {
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(e.text)
	return err
}
