package local

import (
	"os"
	"testing"

	"squall/internal/record"
)

func TestParseStat(t *testing.T) {
	const tail = " S 7 1 1 0 -1 4194560 100 0 0 0 250 150 30 20 20 0 1 0 12345 1000000 64 18446744073709551615"
	for name, text := range map[string]string{"plain": "42 (envoy)" + tail, "odd": "42 (a) (b ) c)" + tail} {
		pid, parent, used, err := parseStat([]byte(text))
		want := record.Usage{CPU: 4.5, Memory: 64 * int64(os.Getpagesize())}
		if err != nil || pid != 42 || parent != 7 || used != want {
			t.Errorf("%s: %d, %d, %+v, %v", name, pid, parent, used, err)
		}
	}
	for _, text := range []string{"", "42 envoy S 7", "42 (envoy) S 7", "x (envoy)" + tail} {
		if _, _, _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestProcessesHaveThisOne(t *testing.T) {
	tree, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	used, ok := tree.sum(os.Getpid())
	if !ok || used.Memory < 1<<20 {
		t.Errorf("%+v, %v", used, ok)
	}
	if _, ok := tree.sum(-1); ok {
		t.Error("a process that is not there was found")
	}
}
