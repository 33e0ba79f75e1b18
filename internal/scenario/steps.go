package scenario

// Provable is what every kind of step has whose effect has to be proven.
type Provable struct {
	// Unproven is the reason why nothing has to prove that the step took effect; it is printed. Without it a proof is demanded.
	Unproven string `json:"unproven,omitempty" jsonschema:"minLength=1"`
}

// CircuitBreaker limits the connection pool of the callers of a host: what is above the limits is shed as 503 with the
// flag UO. At least one limit is needed; others keep what the host already has.
type CircuitBreaker struct {
	// Host is the service: its short name, name.namespace or full name.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Subset narrows the limits to one subset of the host.
	Subset string `json:"subset,omitempty" jsonschema:"minLength=1"`
	// MaxConnections is how many connections may be open.
	MaxConnections int32 `json:"maxConnections,omitempty" jsonschema:"minimum=1"`
	// HTTP1MaxPendingRequests is how many requests may wait for a connection.
	HTTP1MaxPendingRequests int32 `json:"http1MaxPendingRequests,omitempty" jsonschema:"minimum=1"`
	// HTTP2MaxRequests is how many requests may be active.
	HTTP2MaxRequests int32 `json:"http2MaxRequests,omitempty" jsonschema:"minimum=1"`
	// MaxRequestsPerConnection is how many requests a connection serves before it is closed.
	MaxRequestsPerConnection int32 `json:"maxRequestsPerConnection,omitempty" jsonschema:"minimum=1"`
	// MaxRetries is how many retries may be active.
	MaxRetries int32 `json:"maxRetries,omitempty" jsonschema:"minimum=1"`
	// ConnectTimeout bounds the making of a connection.
	ConnectTimeout Duration `json:"connectTimeout,omitzero"`
	Provable
}

// Outlier ejects pods of a host that answer badly. At least one field is needed.
type Outlier struct {
	// Host is the service.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Subset narrows the rule to one subset of the host.
	Subset string `json:"subset,omitempty" jsonschema:"minLength=1"`
	// Consecutive5xxErrors is how many 5xx answers in a row eject a pod; 0 switches this reason off.
	Consecutive5xxErrors *uint32 `json:"consecutive5xxErrors,omitempty" jsonschema:"minimum=0"`
	// ConsecutiveGatewayErrors is how many 502, 503 and 504 in a row eject a pod; 0 switches this reason off.
	ConsecutiveGatewayErrors *uint32 `json:"consecutiveGatewayErrors,omitempty" jsonschema:"minimum=0"`
	// Interval is the time between two looks.
	Interval Duration `json:"interval,omitzero"`
	// BaseEjectionTime times the number of ejections is how long a pod stays out.
	BaseEjectionTime Duration `json:"baseEjectionTime,omitzero"`
	// MaxEjectionPercent is how many of the pods may be out.
	MaxEjectionPercent int32 `json:"maxEjectionPercent,omitempty" jsonschema:"minimum=1,maximum=100"`
	// MinHealthPercent switches ejection off when fewer pods are healthy; 0 never does.
	MinHealthPercent *int32 `json:"minHealthPercent,omitempty" jsonschema:"minimum=0,maximum=100"`
	Provable
}

// Delay holds requests to a host back in the caller's proxy, before they are sent; the flag is DI.
type Delay struct {
	// Host is the service.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Percent of the requests. Default 100.
	Percent Percent `json:"percent,omitempty"`
	// FixedDelay is how long.
	FixedDelay Duration `json:"fixedDelay" jsonschema:"required"`
	// Match narrows the fault to some requests.
	Match *Match `json:"match,omitempty"`
	// API is what the step is compiled to: istio, a VirtualService, or gateway, an HTTPRoute of the Gateway API. Default spec.mesh.api.
	API string `json:"api,omitempty" jsonschema:"enum=istio,enum=gateway"`
	Provable
}

// Abort answers requests to a host in the caller's proxy with an error; the flag is FI. Exactly one of httpStatus and
// grpcStatus is needed.
type Abort struct {
	// Host is the service.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Percent of the requests. Default 100.
	Percent Percent `json:"percent,omitempty"`
	// HTTPStatus is the status of the answer.
	HTTPStatus int32 `json:"httpStatus,omitempty" jsonschema:"minimum=200,maximum=599"`
	// GRPCStatus is the name of the gRPC status, such as UNAVAILABLE.
	GRPCStatus string `json:"grpcStatus,omitempty" jsonschema:"enum=CANCELLED,enum=UNKNOWN,enum=INVALID_ARGUMENT,enum=DEADLINE_EXCEEDED,enum=NOT_FOUND,enum=ALREADY_EXISTS,enum=PERMISSION_DENIED,enum=RESOURCE_EXHAUSTED,enum=FAILED_PRECONDITION,enum=ABORTED,enum=OUT_OF_RANGE,enum=UNIMPLEMENTED,enum=INTERNAL,enum=UNAVAILABLE,enum=DATA_LOSS,enum=UNAUTHENTICATED"`
	// Match narrows the fault to some requests.
	Match *Match `json:"match,omitempty"`
	// API is what the step is compiled to: istio, a VirtualService, or gateway, an HTTPRoute of the Gateway API. Default spec.mesh.api.
	API string `json:"api,omitempty" jsonschema:"enum=istio,enum=gateway"`
	Provable
}

// Match narrows a step to the requests that fit all of it.
type Match struct {
	// Headers by their lower-case names.
	Headers map[string]StringMatch `json:"headers,omitempty"`
	// URI is the request's path, without its query.
	URI *StringMatch `json:"uri,omitempty"`
	// Method is the HTTP method.
	Method *StringMatch `json:"method,omitempty"`
	// Authority is the host that is asked for, as the caller writes it.
	Authority *StringMatch `json:"authority,omitempty"`
	// QueryParams by their names; their values are matched by exact or regex.
	QueryParams map[string]StringMatch `json:"queryParams,omitempty"`
	// SourceLabels are labels of the calling pod.
	SourceLabels map[string]string `json:"sourceLabels,omitempty"`
}

// StringMatch holds exactly one of exact, prefix and regex (RE2).
type StringMatch struct {
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Regex  string `json:"regex,omitempty"`
}

// Timeout bounds requests to a host in the caller's proxy; the flag is UT.
type Timeout struct {
	// Host is the service.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Timeout is for the request as a whole, retries included.
	Timeout Duration `json:"timeout" jsonschema:"required"`
	// Match narrows it to some requests.
	Match *Match `json:"match,omitempty"`
	// API is what the step is compiled to: istio, a VirtualService, or gateway, an HTTPRoute of the Gateway API. Default spec.mesh.api.
	API string `json:"api,omitempty" jsonschema:"enum=istio,enum=gateway"`
	Provable
}

// Retries makes the caller's proxy try requests to a host again.
type Retries struct {
	// Host is the service.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Attempts is how often a request is tried again; 0 switches the mesh's default retries off.
	Attempts int32 `json:"attempts" jsonschema:"required,minimum=0"`
	// PerTryTimeout bounds each try.
	PerTryTimeout Duration `json:"perTryTimeout,omitzero"`
	// RetryOn is Envoy's list of reasons, such as 5xx,reset,connect-failure.
	RetryOn string `json:"retryOn,omitempty"`
	// Match narrows it to some requests.
	Match *Match `json:"match,omitempty"`
	// API is what the step is compiled to: istio, a VirtualService, or gateway, an HTTPRoute of the Gateway API. Default spec.mesh.api.
	API string `json:"api,omitempty" jsonschema:"enum=istio,enum=gateway"`
	Provable
}

// Weights splits the traffic of a host over subsets. Subsets that do not exist are made by the label version. It changes
// the routes without a match, or all when each has one.
type Weights struct {
	// Host is the service.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Subsets are the shares in percent; they sum to 100.
	Subsets map[string]Share `json:"subsets" jsonschema:"required,minProperties=1"`
	// Match narrows it to some requests.
	Match *Match `json:"match,omitempty"`
	// API is what the step is compiled to: istio, a VirtualService, or gateway, an HTTPRoute of the Gateway API. Default spec.mesh.api.
	API string `json:"api,omitempty" jsonschema:"enum=istio,enum=gateway"`
	Provable
}

// Mirror sends a copy of the requests to a host elsewhere; the answers to the copies are thrown away.
type Mirror struct {
	// Host is the service whose requests are copied.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// To is where the copies go.
	To Destination `json:"to" jsonschema:"required"`
	// Percent of the requests. Default 100.
	Percent Percent `json:"percent,omitempty"`
	// Match narrows it to some requests.
	Match *Match `json:"match,omitempty"`
	// API is what the step is compiled to: istio, a VirtualService, or gateway, an HTTPRoute of the Gateway API. Default spec.mesh.api.
	API string `json:"api,omitempty" jsonschema:"enum=istio,enum=gateway"`
	Provable
}

// Destination is where requests go: a host, a subset or both.
type Destination struct {
	// Host defaults to the step's host.
	Host string `json:"host,omitempty" jsonschema:"minLength=1"`
	// Subset is one of the host's subsets. One that does not exist is made by the label version.
	Subset string `json:"subset,omitempty" jsonschema:"minLength=1"`
	// Port is needed for a host with several ports.
	Port int32 `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
}

// Route sends requests to a host elsewhere. Routes of one stage are looked at in their order, before all that the host has.
type Route struct {
	// Host is the service.
	Host string `json:"host" jsonschema:"required,minLength=1"`
	// Match says which requests. Without it, all that no route with a match takes.
	Match *Match `json:"match,omitempty"`
	// To is where they go.
	To Destination `json:"to" jsonschema:"required"`
	// API is what the step is compiled to: istio, a VirtualService, or gateway, an HTTPRoute of the Gateway API. Default spec.mesh.api.
	API string `json:"api,omitempty" jsonschema:"enum=istio,enum=gateway"`
	Provable
}

// Manifest applies Istio or Kubernetes objects as they are. Exactly one of file, object and objects is needed. An object
// that exists is replaced, but keeps the labels and annotations that the manifest does not set.
type Manifest struct {
	// File holds the objects, relative to the file that names it.
	File string `json:"file,omitempty"`
	// Object is one object.
	Object Object `json:"object,omitempty"`
	// Objects are several.
	Objects []Object `json:"objects,omitempty"`
	Provable
}
