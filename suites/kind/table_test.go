//go:build kind

package kind

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/e2e-framework/pkg/envconf"

	"squall/internal/parity"
	"squall/internal/record"
)

// table gathers the comparisons.
type table struct {
	mu      sync.Mutex
	rows    []parity.Comparison
	took    map[string]times // by environment
	leftOut []string         // each with its reason
	failed  []string         // as leftOut
}

func (t *table) add(c parity.Comparison) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, c)
}

// leaveOut says, here and in the table, that something is not run.
func (t *table) leaveOut(test *testing.T, name, why string) {
	test.Logf("%s: left out: %s", name, why)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leftOut = append(t.leftOut, name+": "+why)
}

// fail fails the test, and says why once more behind the table, as the log before it is long.
func (t *table) fail(test *testing.T, format string, args ...any) {
	test.Helper()
	why := fmt.Sprintf(format, args...)
	test.Error(why)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = append(t.failed, test.Name()+": "+why)
}

// time notes how long a run took.
func (t *table) time(env string, rec *record.Run, seconds float64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.took == nil {
		t.took = map[string]times{}
	}
	if t.took[env] == nil {
		t.took[env] = times{}
	}
	return t.took[env].note(rec, seconds)
}

// write prints the table, and writes it to reports/parity.md, from where "go run ./scripts/figures parity" takes it.
func (s *suite) write(ctx context.Context, _ *envconf.Config) (context.Context, error) {
	s.agreed.mu.Lock()
	defer s.agreed.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %d scenarios in both.\n\n%s", time.Now().UTC().Format(time.DateOnly), len(s.agreed.rows), parity.Table(s.agreed.rows))
	b.WriteString(timesTable(s.agreed.took))
	for i, l := range s.agreed.leftOut {
		if i == 0 {
			b.WriteString("\nLeft out:\n\n")
		}
		b.WriteString("- " + l + "\n")
	}
	fmt.Print(b.String())
	for _, why := range s.agreed.failed {
		fmt.Println("FAILED", why)
	}
	return ctx, os.WriteFile(filepath.Join(s.root, "reports", "parity.md"), []byte(b.String()), 0o644)
}
