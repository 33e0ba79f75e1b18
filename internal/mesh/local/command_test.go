package local_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// testCommand replaces the image's own command: by its program, as the image's name tells it, and by a file of this machine.
func testCommand(t *testing.T, m *testMesh, ns string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for image, command := range map[string]string{"test/app": "app", "test/unknown": self} {
		m.apply(t, ns, deployment("told", "image: "+image+"\ncommand: ["+command+", one]\nargs: [two, three]\nports: [{containerPort: 8080}]\n"+
			"env: [{name: "+modeEnv+", value: http}]", ""), service("told", "http"))
		m.ready(t, ns)
		m.answers(t, ns, "told", "/args", 200)
		_, body := m.call(t, ns, "told", "/args")
		var got struct{ Args []string }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if want := []string{"one", "two", "three"}; !slices.Equal(got.Args, want) {
			t.Errorf("%s, command %s: arguments %q, want %q", image, command, got.Args, want)
		}
	}
}
