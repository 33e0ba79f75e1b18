package scenario

// MTLS sets the mode in which workloads accept connections.
type MTLS struct {
	// Mode is STRICT, PERMISSIVE or DISABLE.
	Mode string `json:"mode" jsonschema:"required,enum=STRICT,enum=PERMISSIVE,enum=DISABLE"`
	// Workload are labels of the pods it is for; without them it is for all in the namespace.
	Workload map[string]string `json:"workload,omitempty"`
	// Scope mesh sets the mode of the whole mesh, in istio-system. Default namespace.
	Scope string `json:"scope,omitempty" jsonschema:"enum=namespace,enum=mesh"`
	Provable
}

// JWT checks the tokens of requests in the proxies of a workload: one that is not good is refused with 401.
type JWT struct {
	// Workload are labels of the pods it is for; without them it is for all in the namespace.
	Workload map[string]string `json:"workload,omitempty"`
	// Issuer is the token's iss.
	Issuer string `json:"issuer" jsonschema:"required,minLength=1"`
	// Audiences are the token's aud, of which it needs one. Without them any will do.
	Audiences []string `json:"audiences,omitempty"`
	// JWKSURI is where istiod fetches the public keys.
	JWKSURI string `json:"jwksUri,omitempty" jsonschema:"minLength=1"`
	// JWKS are the public keys themselves, a JSON Web Key Set.
	JWKS string `json:"jwks,omitempty" jsonschema:"minLength=1"`
	// FromHeaders are where the token is; the header Authorization with the prefix Bearer by default.
	FromHeaders []TokenHeader `json:"fromHeaders,omitempty"`
	// ForwardOriginalToken keeps the token in the request that the workload gets.
	ForwardOriginalToken bool `json:"forwardOriginalToken,omitempty"`
	// Require refuses requests without a token too, with 403.
	Require bool `json:"require,omitempty"`
	Provable
}

// TokenHeader is a header that holds a token.
type TokenHeader struct {
	// Name of the header.
	Name string `json:"name" jsonschema:"required,minLength=1"`
	// Prefix before the token, such as "Bearer ".
	Prefix string `json:"prefix,omitempty"`
}

// Authorize says who may call a workload: an AuthorizationPolicy. What it refuses is answered with 403.
type Authorize struct {
	// Workload are labels of the pods it is for; without them it is for all in the namespace.
	Workload map[string]string `json:"workload,omitempty"`
	// Action is ALLOW, DENY or AUDIT. Default ALLOW.
	Action string `json:"action,omitempty" jsonschema:"enum=ALLOW,enum=DENY,enum=AUDIT"`
	// Rules are alternatives. At least one is needed, or denyAll.
	Rules []AuthorizeRule `json:"rules,omitempty"`
	// DenyAll refuses every request that no other policy allows.
	DenyAll bool `json:"denyAll,omitempty"`
	// DryRun only counts what would be allowed and refused.
	DryRun bool `json:"dryRun,omitempty"`
	Provable
}

// AuthorizeRule holds for requests that fit its from, to and when; what is left out holds for all.
type AuthorizeRule struct {
	// From is who calls.
	From *AuthorizeFrom `json:"from,omitempty"`
	// To is what is called.
	To *AuthorizeTo `json:"to,omitempty"`
	// When are further conditions, all of which have to hold.
	When []AuthorizeWhen `json:"when,omitempty"`
}

// AuthorizeFrom is a caller that fits all of it: of each list one is enough, and of those called not… none may fit.
type AuthorizeFrom struct {
	// Principals are identities of mTLS, such as cluster.local/ns/squall/sa/squall-load.
	Principals    []string `json:"principals,omitempty"`
	NotPrincipals []string `json:"notPrincipals,omitempty"`
	// RequestPrincipals are the iss/sub of tokens.
	RequestPrincipals    []string `json:"requestPrincipals,omitempty"`
	NotRequestPrincipals []string `json:"notRequestPrincipals,omitempty"`
	// Namespaces of the callers, by their mTLS.
	Namespaces    []string `json:"namespaces,omitempty"`
	NotNamespaces []string `json:"notNamespaces,omitempty"`
	// IPBlocks are addresses or CIDR blocks.
	IPBlocks    []string `json:"ipBlocks,omitempty"`
	NotIPBlocks []string `json:"notIpBlocks,omitempty"`
}

// AuthorizeTo is a request that fits all of it: of each list one is enough, and of those called not… none may fit.
type AuthorizeTo struct {
	// Hosts are what is asked for.
	Hosts    []string `json:"hosts,omitempty"`
	NotHosts []string `json:"notHosts,omitempty"`
	// Methods of HTTP.
	Methods    []string `json:"methods,omitempty"`
	NotMethods []string `json:"notMethods,omitempty"`
	// Paths may begin or end with *.
	Paths    []string `json:"paths,omitempty"`
	NotPaths []string `json:"notPaths,omitempty"`
	// Ports of the pod.
	Ports    []string `json:"ports,omitempty"`
	NotPorts []string `json:"notPorts,omitempty"`
}

// AuthorizeWhen is a condition on an attribute.
type AuthorizeWhen struct {
	// Key is the attribute, such as request.headers[x-team] or request.auth.claims[role].
	Key string `json:"key" jsonschema:"required,minLength=1"`
	// Values of which the attribute has one.
	Values []string `json:"values,omitempty"`
	// NotValues of which the attribute has none.
	NotValues []string `json:"notValues,omitempty"`
}

// Gateway opens the mesh to callers outside of it, at the pods of a gateway.
type Gateway struct {
	// Name of the Gateway and of the VirtualService that is bound to it.
	Name string `json:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// Selector are labels of the gateway's pods. Default istio: ingressgateway.
	Selector map[string]string `json:"selector,omitempty"`
	// Port of the gateway's Service. Default 80.
	Port int32 `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// Protocol is HTTP, HTTPS, HTTP2 or GRPC. Default HTTP, or HTTPS with tls.
	Protocol string `json:"protocol,omitempty" jsonschema:"enum=HTTP,enum=HTTPS,enum=HTTP2,enum=GRPC"`
	// Hosts that may be asked for. Default all.
	Hosts []string `json:"hosts,omitempty"`
	// TLS is how it is encrypted.
	TLS *GatewayTLS `json:"tls,omitempty"`
	// Routes are looked at in their order.
	Routes []GatewayRoute `json:"routes" jsonschema:"required,minItems=1"`
	Provable
}

// GatewayTLS is how a gateway encrypts.
type GatewayTLS struct {
	// Mode is SIMPLE, or MUTUAL to ask for the caller's certificate. Default SIMPLE.
	Mode string `json:"mode,omitempty" jsonschema:"enum=SIMPLE,enum=MUTUAL"`
	// CredentialName is the Secret that holds the certificate.
	CredentialName string `json:"credentialName,omitempty" jsonschema:"minLength=1"`
	// HTTPSRedirect answers with 301 to https instead.
	HTTPSRedirect bool `json:"httpsRedirect,omitempty"`
}

// GatewayRoute leads requests from a gateway to a service.
type GatewayRoute struct {
	// Match says which requests; all by default.
	Match *Match `json:"match,omitempty"`
	// To is the service.
	To Destination `json:"to" jsonschema:"required"`
}
