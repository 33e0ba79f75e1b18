package scenario

// Records is how interface traffic is recorded: each request that a proxy takes part in, by the interface that its path belongs to.
type Records struct {
	// Interfaces names what paths belong to, as "[METHOD ]/path/{parameter}". All other interfaces are learned from the paths.
	Interfaces []string `json:"interfaces,omitempty" jsonschema:"minLength=1"`
	// OpenAPI maps services to their OpenAPI documents, relative to this file, whose paths are interfaces.
	OpenAPI map[string]string `json:"openapi,omitempty"`
	// Store is a file, relative to this one, that says which Elasticsearch keeps the records: an application.yaml with ds_driver, url,
	// username and password. Default a file of SQLite in the run's folder.
	Store string `json:"store,omitempty" jsonschema:"minLength=1"`
	// Via is how proxies tell: als, by Envoy's access log service while the load runs, or accessLog, by their text access logs, which are
	// read when the load is over and so take nothing from it. Default als.
	Via string `json:"via,omitempty" jsonschema:"enum=als,enum=accessLog"`
}

// The ways of Records.
const (
	ViaALS       = "als"
	ViaAccessLog = "accessLog"
)
