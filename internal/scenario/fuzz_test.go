package scenario

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml", "../../scenarios/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("testdata/fuzz/f.yaml", data, Options{})
		var problems Problems
		switch {
		case err == nil && s == nil:
			t.Error("neither a scenario nor an error")
		case err != nil && !errors.As(err, &problems):
			t.Errorf("not a problem of the author: %v", err)
		}
		if _, err := ParseManifests("m.yaml", data); err != nil && !errors.As(err, &problems) {
			t.Errorf("not a problem of the author: %v", err)
		}
	})
}
