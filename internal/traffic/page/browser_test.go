package page

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"squall/internal/browsertest"
	"squall/internal/traffic/store"
)

// tab is a browser that looks at a page.
type tab struct {
	t    *testing.T
	ctx  context.Context
	home string
}

func browse(t *testing.T, home string, also ...string) *tab {
	t.Helper()
	b := &tab{t, browsertest.Open(t), home}
	homes := append(also, home)
	browsertest.Behaves(b.ctx, t, func(url string) bool {
		return slices.ContainsFunc(homes, func(h string) bool { return strings.HasPrefix(url, h) })
	})
	b.size(1200)
	return b
}

func (b *tab) size(width int64) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, chromedp.EmulateViewport(width, 800)))
}

func (b *tab) open(path string) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, chromedp.Navigate(b.home+path)))
}

func (b *tab) key(keys string) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, chromedp.KeyEvent(keys)))
}

// is evaluates an expression.
func is[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression holds.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("never: %s (%v)", expression, err)
		case <-tick.C:
		}
	}
}

func (b *tab) scheme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	must(b.t, err)
}

func (b *tab) shot(file string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	must(b.t, err)
	must(b.t, os.WriteFile(file, picture, 0o644))
}

const aService, anInterface = "/service?namespace=bookinfo&service=reviews", "/requests?namespace=bookinfo&service=reviews&method=GET&interface=%2Freviews%2F%7Bid%7D&limit=12"

// TestLooks opens all views, light and dark, broad and narrow.
func TestLooks(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Name: "run demo", Loopback: true})
	b := browse(t, s.URL)
	for name, path := range map[string]string{"services": "/", "service": aService, "interface": anInterface, "graph": "/graph"} {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1200, 390} {
				b.scheme(scheme)
				b.size(width)
				b.open(path)
				at := fmt.Sprintf("%s, %s, %d", name, scheme, width)
				if got, want := is[string](b, `getComputedStyle(document.body).backgroundColor`), map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]; got != want {
					t.Errorf("%s: the background is %s, want %s", at, got, want)
				}
				if over := is[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
					t.Errorf("%s: %d pixels wider than the screen", at, over)
				}
				if *shots != "" {
					b.shot(filepath.Join(*shots, strings.NewReplacer(", ", "-").Replace(at)+".png"))
				}
			}
		}
	}
	if !*update {
		return
	}
	b.scheme("light")
	b.size(1200)
	for name, path := range map[string]string{"services": "/", "interface": anInterface} {
		b.open(path)
		b.shot(filepath.Join("..", "..", "..", "docs", "images", "traffic-"+name+".png"))
	}
}

// enter presses Tab until an element has the focus that a selector names, and then Enter.
func (b *tab) enter(selector string) {
	b.t.Helper()
	for range 60 {
		b.key("\t")
		if is[bool](b, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			b.key("\r")
			return
		}
	}
	b.t.Fatalf("60 times Tab did not reach %s", selector)
}

// TestByKeyboard goes from the services to one request and to the next page with the keyboard alone.
func TestByKeyboard(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Name: "run demo", Loopback: true})
	b := browse(t, s.URL)
	b.open("/?last=5m")
	b.enter("a.skip")
	if got := is[string](b, `document.activeElement.id`); got != "main" {
		t.Errorf("the skip link leads to %q", got)
	}
	b.enter(`tbody a[href*="service=reviews"]`)
	b.until(`location.pathname === "/service" && document.readyState === "complete"`)
	b.enter(`tbody a[href*="interface="]`)
	b.until(`location.pathname === "/requests" && document.readyState === "complete"`)
	if got := is[string](b, `location.search`); !strings.Contains(got, "last=5m") {
		t.Errorf("the window was lost: %s", got)
	}
	b.enter("summary")
	b.until(`document.querySelector("details").open && document.querySelector("details").innerText.includes("fortio.org")`)
	first := is[string](b, `document.querySelector("tbody time").dateTime`)
	b.enter("#next")
	b.until(`location.search.includes("after=") && document.querySelector("#first") !== null`)
	if second := is[string](b, `document.querySelector("tbody time").dateTime`); second >= first {
		t.Errorf("the next page begins at %s, the first at %s", second, first)
	}
	b.enter("#by-duration")
	b.until(`location.search.includes("sort=duration") && !location.search.includes("after=") && document.querySelector("th[aria-sort=descending] #by-duration") !== null`)
}

// TestFilter fills the form in and sends it with Enter.
func TestFilter(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Name: "run demo", Loopback: true})
	b := browse(t, s.URL)
	b.open(anInterface)
	is[bool](b, `document.querySelector("#f-version").value = "v3", document.querySelector("#f-failed").value = "true", document.querySelector("#f-path").focus(), true`)
	b.key("/reviews/1")
	b.key("\r")
	b.until(`location.search.includes("path=%2Freviews%2F1") && document.readyState === "complete"`)
	rows := is[[][]string](b, `[...document.querySelectorAll("tbody tr")].map((r) => [...r.cells].map((c) => c.innerText))`)
	for _, r := range rows {
		if len(r) != 8 || r[2] != "503" || r[4] != "v3" || !strings.HasPrefix(r[6], "/reviews/1") {
			t.Errorf("a request that does not fit: %q", r)
		}
	}
	if len(rows) < 5 || is[string](b, `document.querySelector("h1").innerText`) != "GET /reviews/{id}" {
		t.Errorf("%d requests", len(rows))
	}
}

// TestLive sees records come without a reload, keeps the focus, and pauses.
func TestLive(t *testing.T) {
	db := opened(t)
	records := bookinfo(600, 5*time.Minute)
	put(t, db, records[:400])
	s := served(t, Options{Reader: db, Name: "run demo", Loopback: true, Every: 100 * time.Millisecond})
	b := browse(t, s.URL)
	b.open("/")
	b.until(`document.querySelector("#status").innerText === "Live"`)
	const total = `document.querySelector(".facts dd").innerText`
	if got := is[string](b, total); got != "200" {
		t.Errorf("%s requests", got)
	}
	is[bool](b, `window.notReloaded = true, document.querySelector('tbody a[href*="service=ratings"]').focus(), true`)
	put(t, db, records[400:800])
	b.until(total + ` === "400"`)
	if !is[bool](b, `window.notReloaded && document.activeElement.matches('tbody a[href*="service=ratings"]')`) {
		t.Error("the page was loaded again, or lost its focus")
	}
	is[bool](b, `document.querySelector("#pause").click(), true`)
	b.until(`document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
	put(t, db, records[800:])
	is[bool](b, `window.told = "", new EventSource("/events").addEventListener("records", (e) => { window.told = e.data; }), true`)
	b.until(fmt.Sprintf(`window.told === "%d"`, records[len(records)-2].Time.UnixNano()))
	if got := is[string](b, total); got != "400" {
		t.Errorf("%s requests on a page that pauses", got)
	}
	is[bool](b, `document.querySelector("#pause").click(), true`)
	b.until(total + ` === "600"`)
}

// TestWithoutScripts reads the page with scripts off, and the static one from a file.
func TestWithoutScripts(t *testing.T) {
	db := demo(t)
	s := served(t, Options{Reader: db, Name: "run demo", Loopback: true})
	file := filepath.Join(t.TempDir(), "traffic.html")
	f, err := os.Create(file)
	must(t, err)
	must(t, Export(t.Context(), db, store.Filter{Run: "demo"}, f))
	must(t, f.Close())
	b := browse(t, s.URL, "file://"+file)
	_, err = chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	must(t, err)
	b.open("/")
	if shown := is[bool](b, `document.querySelector("p.live").checkVisibility()`); shown || is[int](b, `document.querySelectorAll("tbody tr").length`) != 5 {
		t.Error("the page without scripts offers what it cannot do, or shows no services")
	}
	b.home = ""
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.open("file://" + file)
		if over := is[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
			t.Errorf("%d pixels wider than the screen", over)
		}
		if n := is[int](b, `document.querySelectorAll("script, form, a:not([href^='#']):not(.node)").length`); n > 0 {
			t.Errorf("%d things that lead out of the file", n)
		}
		if got, want := is[string](b, `getComputedStyle(document.body).backgroundColor`), map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]; got != want {
			t.Errorf("the background is %s, want %s", got, want)
		}
		if *shots != "" {
			b.shot(filepath.Join(*shots, "export-"+scheme+".png"))
		}
	}
}

// TestSignInInBrowser has the form work, and nothing of the page be there before.
func TestSignInInBrowser(t *testing.T) {
	s := served(t, Options{Reader: demo(t), Name: "run demo", Token: secret})
	b := &tab{t, browsertest.Open(t), s.URL}
	b.open("/graph")
	if text := is[string](b, `document.body.innerText`); strings.Contains(text, "reviews") || !strings.Contains(text, "Token") {
		t.Error(text)
	}
	b.key(secret)
	b.key("\r")
	b.until(`location.pathname === "/graph" && document.body.innerText.includes("reviews")`)
	b.until(`document.querySelector("#status").innerText === "Live"`)
}
