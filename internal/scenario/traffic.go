package scenario

// LoadSpec is the traffic of a stage. Exactly one of requests and duration says when it ends.
type LoadSpec struct {
	// URL is what is called: http://, https:// or grpc://, with the service's name as the host.
	URL string `json:"url" jsonschema:"required,format=load-url"`
	// Protocol is http/1.1, h2 or grpc (Fortio's gRPC ping). Default http/1.1.
	Protocol string `json:"protocol,omitempty" jsonschema:"enum=http/1.1,enum=h2,enum=grpc"`
	// Method is the HTTP method. Default GET, or POST when there is a body.
	Method string `json:"method,omitempty" jsonschema:"pattern=^[A-Z]+$"`
	// Headers are sent with each request.
	Headers map[string]string `json:"headers,omitempty"`
	// Body is sent with each request.
	Body string `json:"body,omitempty"`
	// Connections is how many callers run side by side, each with one connection. Default 1.
	Connections int `json:"connections,omitempty" jsonschema:"minimum=1,maximum=10000"`
	// QPS is the rate over all connections; 0 is as fast as it can. Default 0.
	QPS float64 `json:"qps,omitempty" jsonschema:"minimum=0"`
	// Workers is how many pods of the load generator call together, each through a proxy of its own. Connections, requests and rate
	// are divided among them. Default 1.
	Workers int `json:"workers,omitempty" jsonschema:"minimum=1,maximum=64"`
	// AllowLostWorkers is how many of the workers may be lost while they call without making the run INCONCLUSIVE: what is judged
	// then are the calls that are known. Default 0.
	AllowLostWorkers int `json:"allowLostWorkers,omitempty" jsonschema:"minimum=0,maximum=63"`
	// Requests is how many requests are sent.
	Requests int64 `json:"requests,omitempty" jsonschema:"minimum=1"`
	// Duration is how long requests are sent.
	Duration Duration `json:"duration,omitzero"`
	// Timeout bounds one request. Default 10s.
	Timeout Duration `json:"timeout,omitzero"`
	// WarmUp is how many requests are sent before and neither counted nor recorded. Default 0.
	WarmUp int64 `json:"warmUp,omitempty" jsonschema:"minimum=0"`
	// Find maps names to what is looked for in the body of each answer, for found("NAME") and occurrences("NAME") in checks.
	Find map[string]Pattern `json:"find,omitempty"`
	// SignIn is one request before the load, whose cookies or token all requests of the load then carry.
	SignIn *SignIn `json:"signIn,omitempty"`
	// TLS says how https:// is verified.
	TLS *LoadTLS `json:"tls,omitempty"`
	// Sidecar says whether the load goes through the load generator's proxy. Without it, it calls a pod of the service from outside
	// of the mesh. Default as the client has one.
	Sidecar *bool `json:"sidecar,omitempty"`
	// VersionHeader is the answer's header that says which version answered.
	VersionHeader string `json:"versionHeader,omitempty"`
	// Jitter spreads the calls of a rate by 10 % at random.
	Jitter bool `json:"jitter,omitempty"`
	// Uniform staggers the connections evenly.
	Uniform bool `json:"uniform,omitempty"`
	// NoCatchUp does not make up for calls that came too late.
	NoCatchUp bool `json:"noCatchUp,omitempty"`
}

// SignIn is a request that is neither counted nor recorded. One that fails, or answers without cookies or token, is an error of the run.
type SignIn struct {
	// URL is what is called, through the same proxy as the load.
	URL string `json:"url" jsonschema:"required,format=load-url"`
	// Method is the HTTP method. Default GET, or POST when there is a form.
	Method string `json:"method,omitempty" jsonschema:"pattern=^[A-Z]+$"`
	// Headers are sent with it.
	Headers map[string]string `json:"headers,omitempty"`
	// Form is sent as a browser sends a form.
	Form map[string]string `json:"form,omitempty"`
	// Bearer takes the answer's body for a token, which the load sends as "Authorization: Bearer". Without it the answer's cookies are
	// sent.
	Bearer bool `json:"bearer,omitempty"`
}

// LoadTLS says whom a load trusts, and who it is.
type LoadTLS struct {
	// CA is a file with certificates of authorities, in PEM, relative to the file that names it. Default the system's.
	CA string `json:"ca,omitempty" jsonschema:"minLength=1"`
	// ServerName is the name that the certificate has to be for. Default the URL's host.
	ServerName string `json:"serverName,omitempty" jsonschema:"minLength=1"`
	// Insecure takes any certificate.
	Insecure bool `json:"insecure,omitempty"`
	// Cert is a file with the load generator's own certificate.
	Cert string `json:"cert,omitempty" jsonschema:"minLength=1"`
	// Key is the file with its key.
	Key string `json:"key,omitempty" jsonschema:"minLength=1"`
}
