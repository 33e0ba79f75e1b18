package rules

// RoutesOf are the routes of one VirtualService as they are written, whoever they hold for.
func (m *Model) RoutesOf(v *VirtualService) []*Route {
	out := make([]*Route, 0, len(v.Spec.GetHttp()))
	for i := range v.Spec.GetHttp() {
		out = append(out, m.route(v, i, 0))
	}
	return out
}
