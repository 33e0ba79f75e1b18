package collect

import (
	"net/netip"
	"strings"
	"sync"

	"squall/internal/traffic"
	"squall/internal/traffic/als"
)

// Service is one of the cluster's.
type Service struct {
	Namespace, Name string
	IPs             []string // cluster IPs
	Port            int      // that is meant; 0 where none is
}

// Peers knows workloads by their pods' IPs, and services by cluster IP and name. It may be used by many at once.
type Peers struct {
	mu       sync.RWMutex
	pods     map[netip.Addr]traffic.Workload
	services map[string]Service
}

var _ als.Peers = (*Peers)(nil)

// NewPeers knows nobody.
func NewPeers() *Peers {
	return &Peers{pods: map[netip.Addr]traffic.Workload{}, services: map[string]Service{}}
}

// Learn adds what there is now. Pods that are gone stay known, until their IP is another's: their last records are still on their way.
func (p *Peers) Learn(pods map[string]traffic.Workload, services []Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ip, w := range pods {
		if a, err := netip.ParseAddr(ip); err == nil {
			p.pods[a.Unmap()] = w
		}
	}
	for _, s := range services {
		for _, ip := range s.IPs {
			p.services[ip] = s
		}
		p.services[s.Name+"."+s.Namespace] = s
	}
}

// Workload is the pod with that IP.
func (p *Peers) Workload(ip string) (traffic.Workload, bool) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return traffic.Workload{}, false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	w, ok := p.pods[a.Unmap()]
	return w, ok
}

// Service is the service with that cluster IP, or that host: name.namespace, or with what follows on it.
func (p *Peers) Service(host string) (namespace, name string, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s, ok := p.services[host]
	if parts := strings.SplitN(host, ".", 3); !ok && len(parts) == 3 && strings.HasPrefix(parts[2], "svc") {
		s, ok = p.services[parts[0]+"."+parts[1]]
	}
	return s.Namespace, s.Name, ok
}
