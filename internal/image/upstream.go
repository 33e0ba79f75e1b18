package image

import "squall/internal/toolchain"

// Upstream are the images of the fixtures that are other people's, without registry and tag: a node pulls them by itself.
func Upstream() []string {
	return []string{
		"elasticsearch/elasticsearch", "fortio/fortio", "istio/examples-bookinfo-details-v1", "istio/examples-bookinfo-mysqldb", "istio/examples-bookinfo-productpage-v1",
		"istio/examples-bookinfo-ratings-v1", "istio/examples-bookinfo-reviews-v1", "istio/examples-bookinfo-reviews-v2",
		"istio/examples-bookinfo-reviews-v3", "mccutchen/go-httpbin",
	}
}

// Own are the programs of the project that its fixtures name images of. tools has been asked for those of OwnTools, for Linux.
func Own(tools toolchain.Tools) []Program {
	return []Program{
		{Name: "squall/bookinfo", Path: tools.Bookinfo, Version: tools.Versions[string(toolchain.Bookinfo)]},
		{Name: "squall/issuer", Path: tools.Issuer, Version: tools.Versions[string(toolchain.Issuer)]},
		{Name: "squall/es-flowcontrol", Path: tools.ESFlowControl, Version: tools.Versions[string(toolchain.ESFlowControl)]},
		{Name: "squall/load", Path: tools.Worker, Version: tools.Versions[string(toolchain.Worker)]},
	}
}

// OwnNames are the images of Own.
func OwnNames() []string {
	var out []string
	for _, p := range Own(toolchain.Tools{}) {
		out = append(out, p.Name)
	}
	return out
}

// OwnTools are the programs that Own needs.
func OwnTools() []toolchain.Name {
	return []toolchain.Name{toolchain.Bookinfo, toolchain.Issuer, toolchain.ESFlowControl, toolchain.Worker}
}

// BuildAll makes the images of programs, in their order.
func BuildAll(programs []Program) ([]Image, error) {
	var out []Image
	for _, p := range programs {
		i, err := Build(p)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}
