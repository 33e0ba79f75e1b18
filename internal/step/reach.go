package step

import (
	"net/url"
	"strings"

	"squall/internal/fields"
)

// reach says whether a request comes to a route.
type reach int

const (
	maybe reach = iota // it cannot be told
	never
	always
)

// reaches says for each route, in their order, whether a load's request takes it. request nil is one that is not known, as
// what a service further on sends: then only what follows a route without a match is known not to be reached.
func reaches(routes []map[string]any, request *Request) []reach {
	out := make([]reach, len(routes))
	var taken reach // whether a route before took it
	taken = never
	for i, route := range routes {
		fit := fitsRoute(route, request)
		switch {
		case taken == always || fit == never:
			out[i] = never
		case fit == always && taken == never:
			out[i] = always
		}
		if fit == always {
			taken = always
		} else if fit == maybe && taken == never {
			taken = maybe
		}
	}
	return out
}

// fitsRoute says whether the request fits the route's match, whatever comes before it.
func fitsRoute(route map[string]any, request *Request) reach {
	if !hasMatch(route) {
		return always
	}
	if request == nil {
		return maybe
	}
	best := never
	for _, m := range fields.Maps(route, "match") {
		switch fitsMatch(m, request) {
		case always:
			return always
		case maybe:
			best = maybe
		}
	}
	return best
}

// fitsMatch says whether the request fits one alternative. Fields that it does not know make it maybe.
func fitsMatch(match map[string]any, request *Request) reach {
	all := always
	for field, want := range match {
		fit := maybe
		switch field {
		case "name":
			continue
		case "uri":
			path, _, _ := strings.Cut(request.Path, "?")
			if match["ignoreUriCase"] != true {
				fit = fitsText(path, want)
			}
		case "method":
			fit = fitsText(request.Method, want)
		case "headers":
			fit = fitsEach(want, func(name string) (string, bool) { return header(request, name) }, isFromSignIn)
		case "queryParams":
			fit = fitsQuery(want, request)
		}
		if fit == never {
			return never
		}
		if fit == maybe {
			all = maybe
		}
	}
	return all
}

func fitsText(text string, match any) reach {
	m, _ := match.(map[string]any)
	fit, known := fits(text, m)
	switch {
	case !known:
		return maybe
	case fit:
		return always
	}
	return never
}

// fitsEach compares what the request has under each name. An empty match asks only that there is something.
func fitsEach(match any, find func(name string) (string, bool), unknown func(name string) bool) reach {
	all := always
	wants, _ := match.(map[string]any)
	for name, want := range wants {
		text, found := find(name)
		fit := never
		if m, _ := want.(map[string]any); found && len(m) == 0 {
			fit = always
		} else if found {
			fit = fitsText(text, want)
		} else if unknown(name) {
			fit = maybe
		}
		if fit == never {
			return never
		}
		if fit == maybe {
			all = maybe
		}
	}
	return all
}

func fitsQuery(match any, request *Request) reach {
	_, raw, _ := strings.Cut(request.Path, "?")
	query, err := url.ParseQuery(raw)
	if err != nil {
		return maybe
	}
	find := func(name string) (string, bool) { return query.Get(name), query.Has(name) }
	return fitsEach(match, find, func(string) bool { return false })
}

func header(request *Request, name string) (string, bool) {
	for k, v := range request.Headers {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}

// isFromSignIn names headers that the load, or a proxy on the way, may add by itself.
func isFromSignIn(name string) bool {
	for _, prefix := range []string{
		":", "cookie", "authorization", "user-agent", "content-", "x-forwarded-", "x-request-id", "x-envoy-", "x-b3-",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
