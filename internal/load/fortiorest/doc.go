// Package fortiorest drives a load by a stock Fortio server, told what to call through Fortio's REST API.
//
// Fortio gives back how many calls had which status and histograms, and nothing about a single call. The calls themselves come from
// the access log of the proxy that they went through, which has an entry for each: Calls takes those that bear the load's mark, and
// Reconcile compares them with what Fortio counted. A load of which the two do not agree is a *MismatchError: nothing can be judged
// by it.
package fortiorest

import (
	"fmt"

	"squall/internal/load"
)

// Image is the stock image.
const Image = "docker.io/fortio/fortio:1.68.0"

// Port is where the server listens, at its pod's loopback address alone: whoever reaches it can have it call anything.
const Port = 8080

// bufferKB is how many KiB of an answer Fortio reads. It hangs up on one that is longer.
const bufferKB = 1024

// Args are those of the image's program.
func Args() []string {
	args := []string{"server", "-http-port", fmt.Sprintf("127.0.0.1:%d", Port), "-httpbufferkb", fmt.Sprint(bufferKB)}
	for _, port := range []string{"grpc", "tcp", "udp", "redirect"} {
		args = append(args, "-"+port+"-port", "disabled")
	}
	return args
}

// Loss is something that a load by Fortio's REST API does not have, or has in another way, beside one by Squall's own worker.
type Loss struct {
	What    string
	Instead string // what there is in its place
}

func (l Loss) String() string { return l.What + ": " + l.Instead }

// Losses are all of them; what is refused is in Unsupported.
func Losses() []Loss {
	return []Loss{
		{"the client's own record of each call", "the entry of the load generator's proxy for it; Fortio's counts by status have to be equal, or the run is INCONCLUSIVE"},
		{"latency as the client saw it", "the proxy's, from the request's first byte to the answer's last one; of one without a whole answer in whole milliseconds, rounded down"},
		{"why a call got no answer", "timeout when the client hung up after the load's timeout, else reset; eof when an answer broke off"},
		{"conn as the caller's number", "the number of the TCP connection: Fortio makes a new one after each status but 2xx and 418"},
		{"late and response, and so response times", "nothing: checks of them are refused"},
		{"times on Squall's clock", "those of the node, set right to within what the report says"},
		{"progress and halt at once", "about a second later, as the proxy writes its log"},
		{"a duration", "as many calls as the rate makes in it; a duration without a qps is refused"},
		{"answers of any size", fmt.Sprintf("up to %d KiB: Fortio hangs up on a longer one", bufferKB)},
		{"the requests as they are written", "three headers more: " + markHeader + ", X-On-Behalf-Of and Fortio's User-Agent"},
	}
}

// Unsupported is a field of a load that Fortio's REST API cannot do, or that its result does not tell of.
type Unsupported struct {
	Field string // as load.Spec.Validate calls it
	What  string
}

// Hint is what to do about a load that is not supported.
const Hint = "use Squall's own load generator: 'squall image push' makes its image, and --load-generator squall is the default"

// Check lists what is not supported of a load.
func Check(s load.Spec) []Unsupported {
	var out []Unsupported
	refuse := func(bad bool, field, what string) {
		if bad {
			out = append(out, Unsupported{field, what})
		}
	}
	refuse(s.Protocol != "" && s.Protocol != load.HTTP1, "protocol", fmt.Sprintf("Fortio's REST API drives http/1.1 alone here, not %s", s.Protocol))
	refuse(isTLS(s.URL) || s.TLS != nil, "url", "over https the load generator's proxy sees no single calls, and its log is where they are taken from")
	refuse(s.Method == "HEAD", "method", "Fortio waits for the body of an answer to HEAD, which has none")
	refuse(hasToken(s), "url", uuidToken+" stands for a random text at Fortio")
	refuse(len(s.Find) > 0, "find", "Fortio does not keep what answers say")
	refuse(s.VersionHeader != "", "versionHeader", "Fortio does not keep headers of answers; without it version is that of the pod that answered, by its label")
	refuse(s.NoCatchUp, "noCatchUp", "Fortio does not say which calls it left out")
	refuse(s.Requests == 0 && s.QPS == 0, "duration", "Fortio makes calls that it does not count before a load by duration: say how many requests, or a qps")
	refuse(s.NewConnectionPerRequest, "newConnectionPerRequest", "Fortio's REST API keeps connections")
	refuse(s.HasHeader(markHeader), "headers", markHeader+" marks the calls of a load by Fortio")
	return out
}
