package als

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"squall/internal/traffic"
)

// What cannot be a duration is none, and neither is what is reckoned with it.
func TestDurations(t *testing.T) {
	for name, c := range map[string]struct {
		first, last, all *durationpb.Duration
		upstream, want   time.Duration
	}{
		"all is well":        {durationpb.New(1), durationpb.New(3), durationpb.New(4), 2, 4},
		"thousands of years": {&durationpb.Duration{Seconds: 315576000000}, &durationpb.Duration{Seconds: 315576000000}, &durationpb.Duration{Seconds: 315576000000}, traffic.Unknown, traffic.Unknown},
		"before it began":    {durationpb.New(1), durationpb.New(-3), durationpb.New(-1), traffic.Unknown, traffic.Unknown},
		"nothing is said":    {nil, nil, nil, traffic.Unknown, traffic.Unknown},
	} {
		e := entry("")
		p := e.GetCommonProperties()
		p.TimeToFirstUpstreamTxByte, p.TimeToLastUpstreamRxByte, p.Duration = c.first, c.last, c.all
		if r := fromHTTP(e); r.Upstream != c.upstream || r.Duration != c.want {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
