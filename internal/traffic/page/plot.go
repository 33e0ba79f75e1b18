package page

import (
	"fmt"
	"strings"
)

// plot is a timeline as bars: requests, and the errors among them.
type plot struct {
	Width, Height    int
	Requests, Errors string // paths
	Label            string // for who cannot see it
	Most             float64
}

func newPlot(s Steps, width, height int) plot {
	p := plot{Width: width, Height: height, Label: "no requests"}
	most, total, failed := uint64(0), uint64(0), uint64(0)
	for _, step := range s {
		most = max(most, step.Requests)
		total += step.Requests
		failed += step.Errors
	}
	if most == 0 {
		return p
	}
	each := float64(width) / float64(max(len(s), 12)) // few steps make no broad bars
	var requests, errs strings.Builder
	for i, step := range s {
		bar(&requests, float64(i)*each, each, float64(height)*float64(step.Requests)/float64(most), height)
		bar(&errs, float64(i)*each, each, float64(height)*float64(step.Errors)/float64(most), height)
	}
	p.Requests, p.Errors = requests.String(), errs.String()
	if len(s) > 1 {
		p.Most = float64(most) / s[1].Start.Sub(s[0].Start).Seconds()
	}
	p.Label = fmt.Sprintf("%s requests over time, %s failed", formatCount(total), formatCount(failed))
	return p
}

// bar adds one; what is not 0 can be seen.
func bar(b *strings.Builder, x, width, height float64, bottom int) {
	if height <= 0 {
		return
	}
	height = max(1, height)
	fmt.Fprintf(b, "M%.4g %dv-%.3gh%.3gv%.3gz", x, bottom, height, max(0.5, width*0.85), height)
}
