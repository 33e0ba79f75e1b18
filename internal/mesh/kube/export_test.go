package kube

// Break ends the connections to proxies and istiod, as a load balancer in front of the API does.
func (m *Mesh) Break() error { return m.admins.Close() }
