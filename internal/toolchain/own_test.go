package toolchain

import (
	"testing"
)

// A program of the project is made anew when its sources change, and not when only its tests do.
func TestOwnProgramFollowsItsSources(t *testing.T) {
	in, _ := newTestInstaller(t, Options{})
	root := in.opts.Root
	write(t, root, "go.sum", "", 0o644)
	source := func(word string) {
		write(t, root, "fixtures/shop/app/inner/inner.go", "package inner\n\nconst Word = \""+word+"\"\n", 0o644)
	}
	write(t, root, "fixtures/shop/app/main.go", "package main\n\nimport \"squall/fixtures/shop/app/inner\"\n\nfunc main() { println(inner.Word) }\n", 0o644)
	source("one")
	r := ownRecipe("shop", "fixtures/shop/app")
	build := func() ready {
		t.Helper()
		got, err := in.ensure(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := build()
	write(t, root, "fixtures/shop/app/inner/inner_test.go", "package inner\n", 0o644)
	write(t, root, "fixtures/shop/app/testdata/x.json", "{}", 0o644)
	if again := build(); again != first {
		t.Errorf("after a change of tests: %v, want %v", again, first)
	}
	source("two")
	second := build()
	if second.path == first.path || second.version == first.version {
		t.Errorf("after a change of a source: %v, before %v", second, first)
	}
	source("one")
	if back := build(); back != first {
		t.Errorf("after the change was undone: %v, want %v", back, first)
	}
}
