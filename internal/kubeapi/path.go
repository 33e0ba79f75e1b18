package kubeapi

import "strings"

// resourcePath is a request path below /api or /apis that names a resource.
type resourcePath struct {
	group, version, namespace, resource, name, subresource string
}

// parsePath splits the path of a resource. It says false for any other path, for empty segments and for too many.
func parsePath(path string) (resourcePath, bool) {
	s := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var p resourcePath
	for i, part := range s {
		if part == "" && i < len(s)-1 || part == "." || part == ".." {
			return p, false
		}
	}
	if s[len(s)-1] == "" {
		s = s[:len(s)-1]
	}
	switch {
	case len(s) >= 3 && s[0] == "api":
		p.version, s = s[1], s[2:]
	case len(s) >= 4 && s[0] == "apis":
		p.group, p.version, s = s[1], s[2], s[3:]
	default:
		return p, false
	}
	// /namespaces/NAME/status is a subresource of the namespace, /namespaces/NAME/pods a list in it.
	if s[0] == "namespaces" && len(s) >= 3 && !(len(s) == 3 && (s[2] == "status" || s[2] == "finalize")) {
		p.namespace, s = s[1], s[2:]
	}
	if len(s) > 3 {
		return p, false
	}
	p.resource = s[0]
	if len(s) > 1 {
		p.name = s[1]
	}
	if len(s) > 2 {
		p.subresource = s[2]
	}
	return p, true
}
