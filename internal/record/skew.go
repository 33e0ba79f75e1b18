package record

import "slices"

// HasLost says whether a worker of the load was lost.
func (l Load) HasLost() bool {
	return slices.ContainsFunc(l.Workers, func(w WorkerLoad) bool { return w.Lost != "" })
}

// Skew is the largest of the workers' values over the smallest, at least 1; ok is false when there are not two workers, or one of
// them has no value above 0.
func (l Load) Skew(of func(WorkerLoad) float64) (skew float64, ok bool) {
	if len(l.Workers) < 2 {
		return 0, false
	}
	least, most := of(l.Workers[0]), of(l.Workers[0])
	for _, w := range l.Workers[1:] {
		least, most = min(least, of(w)), max(most, of(w))
	}
	if !(least > 0) {
		return 0, false
	}
	return most / least, true
}
