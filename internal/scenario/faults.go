package scenario

// Scale changes how many pods a workload has. With 0 its service loses these endpoints; what has none left is answered by the
// caller's proxy with 503 and the flag UH.
type Scale struct {
	// Workload is the name of the Deployment.
	Workload string `json:"workload" jsonschema:"required,minLength=1"`
	// Replicas is how many pods it has then.
	Replicas int32 `json:"replicas" jsonschema:"required,minimum=0"`
	Provable
}

// Kill ends pods as a crash does: nothing is drained, and what they had not answered is lost. Others come in their place.
type Kill struct {
	// Workload is the name of the Deployment.
	Workload string `json:"workload" jsonschema:"required,minLength=1"`
	// Pods is how many: a number, or all. Default 1.
	Pods Pods `json:"pods,omitempty"`
	Provable
}

// Restart replaces all pods of a workload as kubectl rollout restart does: the new ones serve before the old ones end.
type Restart struct {
	// Workload is the name of the Deployment.
	Workload string `json:"workload" jsonschema:"required,minLength=1"`
	Provable
}

// Rollout brings another version of a workload. At least one of image and env is needed.
type Rollout struct {
	// Workload is the name of the Deployment.
	Workload string `json:"workload" jsonschema:"required,minLength=1"`
	// Container is the one that changes. Default the first.
	Container string `json:"container,omitempty" jsonschema:"minLength=1"`
	// Image is the container's image.
	Image string `json:"image,omitempty" jsonschema:"minLength=1"`
	// Env are variables that are added to the container's or replace them.
	Env map[string]string `json:"env,omitempty" jsonschema:"minProperties=1"`
	// Expect is how it goes: ready, or stuck when its pods never serve, so that the old ones go on. Default ready.
	Expect string `json:"expect,omitempty" jsonschema:"enum=ready,enum=stuck"`
	Provable
}

// Stop holds the program of pods with SIGSTOP: it takes connections and answers nothing. The local mesh alone can do it.
type Stop struct {
	// Workload is the name of the Deployment.
	Workload string `json:"workload" jsonschema:"required,minLength=1"`
	// Pods is how many: a number, or all. Default 1.
	Pods Pods `json:"pods,omitempty"`
	// For is how long it is held; without it, until the rollback.
	For Duration `json:"for,omitzero"`
	Provable
}

// Partition cuts the network of a workload, or between two of them: by a NetworkPolicy on a cluster, and by stopping the proxies of the
// workload's pods on the local mesh. Exactly one of workload and to is needed.
type Partition struct {
	// Workload is the name of the Deployment that nothing reaches and that reaches nothing.
	Workload string `json:"workload,omitempty" jsonschema:"minLength=1"`
	// From is the name of the Deployment whose connections to To are cut.
	From string `json:"from,omitempty" jsonschema:"minLength=1"`
	// To is the name of the Deployment that From reaches no more.
	To string `json:"to,omitempty" jsonschema:"minLength=1"`
	Provable
}

// Evict asks a cluster with several nodes to move pods away, as far as PodDisruptionBudgets allow it.
type Evict struct {
	// Workload is the name of the Deployment.
	Workload string `json:"workload" jsonschema:"required,minLength=1"`
	// Pods is how many: a number, or all. Default 1.
	Pods Pods `json:"pods,omitempty"`
	Provable
}

// Cordon keeps new pods off the nodes of a workload, on a cluster with several nodes. Pods that are there stay.
type Cordon struct {
	// Workload is the name of the Deployment whose pods' nodes are meant.
	Workload string `json:"workload" jsonschema:"required,minLength=1"`
	Provable
}
