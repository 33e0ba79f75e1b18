package check

import (
	"strings"
	"testing"

	"squall/internal/record"
)

// metered is breaker with what its pods used.
func metered() *memory {
	m := breaker()
	pod := func(name string, services []string, pid int, app, proxy record.Usage) record.PodUsage {
		u := record.PodUsage{Pod: name, Services: services, Parts: map[string]record.Usage{}}
		app.PID, proxy.PID = pid, pid+1
		if app.Memory > 0 {
			u.Parts[record.App] = app
		}
		u.Parts[record.Sidecar] = proxy
		return u
	}
	use := func(cpu float64, mib int64) record.Usage { return record.Usage{CPU: cpu, Memory: mib * mebibyte} }
	svc := []string{"httpbin"}
	m.usage = map[string][]record.PodUsage{
		"breaker/before": {
			pod(client, nil, 10, record.Usage{}, use(1, 40)), pod(server1, svc, 20, use(2, 30), use(3, 50)), pod(server2, svc, 30, use(1, 20), use(1, 40)),
		},
		"breaker/after": { // the load took two seconds
			pod(client, nil, 10, record.Usage{}, use(2, 60)), pod(server1, svc, 20, use(4, 20), use(4, 70)), pod(server2, svc, 30, use(1.5, 25), use(1.5, 40)),
		},
	}
	return m
}

func TestUsage(t *testing.T) {
	for stmt, want := range map[string]Verdict{
		`cpu(httpbin) == 2`:                      Pass, // 2 + 1 + 0.5 + 0.5 seconds in two
		`cpu(httpbin, "app") == 1.25`:            Pass,
		`cpu(httpbin, "proxy") in [0.75, 0.75]`:  Pass,
		`cpu(httpbin, "proxy") > 0.75`:           Fail,
		`memory(httpbin) == 165MiB`:              Pass, // 30 + 70 + 25 + 40
		`memory(httpbin, "proxy") == 0.5GiB`:     Fail,
		`memory(httpbin, "proxy") == 112640KiB`:  Pass,
		`memory(httpbin) / 2 < 100MiB`:           Pass,
		`memory(httpbin) < 2 * 100MiB`:           Pass,
		`cpu("squall-load", "proxy") == 0.5`:     Pass,
		`cpu("squall-load") == 0.5`:              Pass,
		`memory("squall-load", "proxy") < 61MiB`: Pass,
	} {
		if got := judge(t, metered(), stmt); got.Verdict != want {
			t.Errorf("%s = %v: %s, want %v", stmt, got.Verdict, got.Reason, want)
		}
	}
}

func TestUsageThatIsNotKnown(t *testing.T) {
	restarted := metered()
	now := restarted.usage["breaker/after"][1].Parts
	now[record.Sidecar] = record.Usage{PID: 99, CPU: 0.1, Memory: 1 << 20}
	born := metered()
	born.usage["breaker/before"] = born.usage["breaker/before"][:2]
	noClient := metered()
	noClient.proxies[0].Client = false
	noProxy := metered()
	delete(noProxy.usage["breaker/after"][1].Parts, record.Sidecar)
	for _, tt := range []struct {
		m          *memory
		stmt, want string
	}{
		{breaker(), `cpu(httpbin) < 2`, "the environment does not tell what processes use"},
		{breaker(), `memory(httpbin) < 2MiB`, "the environment does not tell"},
		{metered(), `cpu("squall-load", "app") < 2`, "the load generator is Squall itself"},
		{metered(), `cpu(reviews) < 2`, "no pod belongs to reviews"},
		{restarted, `cpu(httpbin) < 2`, "started during the load"},
		{born, `memory(httpbin) < 2MiB`, "was not there before the load"},
		{noClient, `cpu("squall-load") < 2`, "the load generator has no proxy"},
		{noProxy, `cpu(httpbin, "proxy") < 2`, `has no part "proxy"`},
		{metered(), `delta(cpu(httpbin)) < 2`, "the environment does not tell"}, // the baseline's
	} {
		got := judge(t, tt.m, tt.stmt)
		if got.Verdict != Inconclusive || !strings.Contains(got.Reason, tt.want) {
			t.Errorf("%s = %v: %s, want INCONCLUSIVE: …%s…", tt.stmt, got.Verdict, got.Reason, tt.want)
		}
		if got.Measures[0].Value != nil {
			t.Errorf("%s has the value %v", tt.stmt, *got.Measures[0].Value)
		}
	}
	if got := judge(t, restarted, `memory(httpbin, "app") == 55MiB`); got.Verdict != Pass {
		t.Errorf("a part that went on: %v: %s", got.Verdict, got.Reason)
	}
}

func TestUsageSyntax(t *testing.T) {
	for stmt, want := range map[string]string{
		`cpu() < 1`:                         "cpu takes a service",
		`cpu(httpbn) < 1`:                   "did you mean httpbin?",
		`cpu("squall-loud") < 1`:            `there is no service "squall-loud"`,
		`cpu(httpbin, "prxy") < 1`:          `a pod has no part "prxy"`,
		`cpu(httpbin) < 1MiB`:               "a number against an amount of memory",
		`cpu(httpbin) < 1 @95%`:             "",
		`memory(httpbin) < 200`:             "write 200MiB",
		`memory(httpbin) < 200MB`:           "KiB, MiB, GiB",
		`memory(httpbin) < 200 MiB`:         "write 200MiB",
		`memory(httpbin) < 2s`:              "an amount of memory against a time",
		`memory(httpbin) * 2 < 200`:         "write 200MiB",
		`memory(httpbin) / 1MiB < 200MiB`:   "a number against an amount of memory",
		`count(latency > 5MiB) > 0`:         "latency is no amount of memory",
		`p50 < 5MiB`:                        "a time against an amount of memory",
		`memory(httpbin) + p50 < 5MiB`:      "an amount of memory against a time",
		`delta(memory(httpbin)) > -1GiB`:    "",
		`memory(httpbin) > -1GiB`:           "cannot be less than 0",
		`memory(httpbin) >= 0MiB`:           "always holds",
		`memory(httpbin) > memory(reviews)`: "",
	} {
		_, err := Compile(stmt, []string{"httpbin", "reviews"})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", stmt, err, want)
		}
	}
}
