package load

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxFindBody is how much of an answer is kept to look for texts in it.
const maxFindBody = 1 << 20

// Find is something to look for in the body of each answer.
type Find struct {
	Name string
	Text string // found as it is; or
	// Regex is a regular expression of RE2, of which each match counts that does not overlap the one before.
	Regex string
}

func (s Spec) validateFind() error {
	var errs []error
	isName := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	for _, f := range s.Find {
		switch _, err := regexp.Compile(f.Regex); {
		case !isName.MatchString(f.Name):
			errs = append(errs, fmt.Errorf("find: %q is no name: use letters, digits, - and _", f.Name))
		case (f.Text == "") == (f.Regex == ""):
			errs = append(errs, fmt.Errorf("find: %s needs a text or a regular expression", f.Name))
		case err != nil:
			errs = append(errs, fmt.Errorf("find: %s: %w", f.Name, err))
		case s.Protocol == GRPC:
			errs = append(errs, errors.New("find: a gRPC ping answers with what it was sent"))
		}
	}
	if len(s.Find) > 0 && s.HTTPMethod() == http.MethodHead {
		errs = append(errs, errors.New("find: the answer to a HEAD has no body"))
	}
	if len(s.Find) > 0 && s.HasHeader("Accept-Encoding") {
		errs = append(errs, errors.New("find: nothing can be found in an answer that is compressed; leave the header Accept-Encoding out"))
	}
	return errors.Join(errs...)
}

// finder looks for a load's texts. It is made once and used by all connections.
type finder struct {
	finds []Find
	regex []*regexp.Regexp // nil where a text is looked for
}

// newFinder is nil when there is nothing to look for.
func newFinder(finds []Find) (*finder, error) {
	if len(finds) == 0 {
		return nil, nil
	}
	f := &finder{finds: slices.Clone(finds)}
	slices.SortFunc(f.finds, func(a, b Find) int { return strings.Compare(a.Name, b.Name) })
	for _, x := range f.finds {
		if x.Regex == "" {
			f.regex = append(f.regex, nil)
			continue
		}
		re, err := regexp.Compile(x.Regex)
		if err != nil {
			return nil, err
		}
		f.regex = append(f.regex, re)
	}
	return f, nil
}

// in says how often each text is in a body, as record.Request.Found has it.
func (f *finder) in(b *body) string {
	if b.over {
		return "?"
	}
	out := make([]byte, 0, 32)
	for i, x := range f.finds {
		var n int
		if re := f.regex[i]; re != nil {
			n = len(re.FindAllIndex(b.kept, -1))
		} else {
			n = bytes.Count(b.kept, []byte(x.Text))
		}
		if i > 0 {
			out = append(out, ' ')
		}
		out = strconv.AppendInt(append(append(out, x.Name...), '='), int64(n), 10)
	}
	return string(out)
}

// body keeps what is written to it up to maxFindBody.
type body struct {
	kept []byte
	over bool
}

func (b *body) reset() { b.kept, b.over = b.kept[:0], false }

// Write never fails.
func (b *body) Write(p []byte) (int, error) {
	if room := maxFindBody - len(b.kept); len(p) > room {
		b.over = true
		b.kept = append(b.kept, p[:room]...)
		return len(p), nil
	}
	b.kept = append(b.kept, p...)
	return len(p), nil
}
