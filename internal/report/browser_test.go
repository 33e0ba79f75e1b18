package report

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"squall/internal/browsertest"
	"squall/internal/check"
)

var shots = flag.String("shots", "", "a folder to write screenshots of the report to")

func writeReport(t *testing.T, d Data) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, d); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + file
}

type look struct {
	scheme string
	width  int64
}

func TestHTMLInBrowser(t *testing.T) {
	ctx := browsertest.Open(t)
	browsertest.Behaves(ctx, t, func(url string) bool { return strings.HasPrefix(url, "file://") && strings.HasSuffix(url, ".html") })
	for _, c := range []struct {
		name, heading string
		data          Data
	}{
		{"pass", "PASS circuit", sample()},
		{"fail", "FAIL circuit\"><script>alert(1)</script>", failed()},
		{"empty", "INCONCLUSIVE lost", Data{Result: check.Result{Scenario: "lost"}}},
	} {
		url := writeReport(t, c.data)
		for _, l := range []look{{"light", 1200}, {"dark", 1200}, {"light", 390}, {"dark", 390}} {
			t.Run(fmt.Sprintf("%s-%s-%d", c.name, l.scheme, l.width), func(t *testing.T) { visit(t, ctx, url, c.name, c.heading, l) })
		}
	}
}

// seen is what the page looks like to a script that the test runs in it.
type seen struct {
	H1         string `json:"h1"`
	Background string `json:"background"`
	Overflow   int    `json:"overflow"`
	Foreign    int    `json:"foreign"`
}

const inspect = `({
	h1: document.querySelector("h1").innerText,
	background: getComputedStyle(document.body).backgroundColor,
	overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
	foreign: document.querySelectorAll("script, img, iframe, object, embed, form, link:not([rel=icon]), a:not([href^='#'])").length,
})`

func visit(t *testing.T, ctx context.Context, url, name, heading string, l look) {
	var opts []chromedp.EmulateViewportOption
	if l.width < 500 {
		opts = append(opts, chromedp.EmulateMobile, chromedp.EmulatePortrait)
	}
	scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, scheme); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(l.width, 900, opts...), chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	s, err := chromedp.Run(ctx, chromedp.Evaluate[seen](inspect))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(s.H1), " "); !strings.Contains(got, heading) {
		t.Errorf("heading is %q, want %q in it", got, heading)
	}
	if want := map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[l.scheme]; s.Background != want {
		t.Errorf("background is %s in %s, want %s", s.Background, l.scheme, want)
	}
	if s.Overflow > 0 {
		t.Errorf("the page is %d pixels wider than the screen", s.Overflow)
	}
	if s.Foreign > 0 {
		t.Errorf("the page has %d scripts, images or links that lead out of it, want none", s.Foreign)
	}
	if *shots != "" {
		shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*shots, fmt.Sprintf("%s-%s-%d.png", name, l.scheme, l.width)), shot, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// TestHTMLByKeyboard opens the first object's difference with Tab and Enter alone.
func TestHTMLByKeyboard(t *testing.T) {
	ctx := browsertest.Open(t)
	url := writeReport(t, sample())
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	const onSummary, isOpen = `document.activeElement.matches("details.object > summary")`, `document.activeElement.parentElement.open`
	for range 60 {
		if err := chromedp.Do(ctx, chromedp.KeyEvent("\t")); err != nil {
			t.Fatal(err)
		}
		if on, err := chromedp.Run(ctx, chromedp.Evaluate[bool](onSummary)); err != nil {
			t.Fatal(err)
		} else if !on {
			continue
		}
		if err := chromedp.Do(ctx, chromedp.KeyEvent("\r")); err != nil {
			t.Fatal(err)
		}
		if open, err := chromedp.Run(ctx, chromedp.Evaluate[bool](isOpen)); err != nil || !open {
			t.Fatalf("Enter did not open the object: %v", err)
		}
		return
	}
	t.Fatal("60 times Tab did not reach an object")
}

// TestHTMLPrint shows that what is folded on the screen is on paper.
func TestHTMLPrint(t *testing.T) {
	ctx := browsertest.Open(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(writeReport(t, sample()))); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}); err != nil {
		t.Fatal(err)
	}
	visible, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.querySelector(".diff").checkVisibility()`))
	if err != nil {
		t.Fatal(err)
	}
	if !visible {
		t.Error("the first difference is folded on paper")
	}
}
