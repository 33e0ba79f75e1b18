package scenario

import (
	"net/url"
	"strings"

	"github.com/invopop/jsonschema"
)

// FlowControl changes settings of the flow control of an Elasticsearch service, which refuses connections and requests by itself, or makes
// an Elasticsearch read-only. The rollback makes them exactly what they were.
type FlowControl struct {
	// Service is the service that callers call: its short name, name.namespace or full name. With url it is only what checks call it.
	Service string `json:"service" jsonschema:"required,minLength=1"`
	// Settings are the settings by their full keys, such as flowcontrol.http.concurrent. null takes a key back to its default. A step of its
	// own may set cluster.blocks.read_only or cluster.blocks.read_only_allow_delete, which any Elasticsearch has.
	Settings map[string]Setting `json:"settings" jsonschema:"required,minProperties=1"`
	// For is how long they are in force; without it, until the rollback.
	For Duration `json:"for,omitzero"`
	// Scope is persistent, or transient: the latter win, and are gone after a restart of the cluster. Default persistent.
	Scope string `json:"scope,omitempty" jsonschema:"enum=persistent,enum=transient"`
	// Port is the service's port at which Squall reads and changes settings. Default a port with admin in its name, else the first.
	Port int32 `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// URL is where a service is that is not in the mesh, without user and password.
	URL string `json:"url,omitempty"`
	// Credentials say as whom Squall asks, and where the secrets are.
	Credentials *Credentials `json:"credentials,omitempty"`
	Provable
}

// Credentials are a user, or an API key. Secrets are named by where they are, and are not in any record.
type Credentials struct {
	// Username is the user.
	Username string `json:"username,omitempty" jsonschema:"minLength=1"`
	// PasswordEnv is the variable of the environment that holds the user's password.
	PasswordEnv string `json:"passwordEnv,omitempty" jsonschema:"minLength=1"`
	// PasswordFile holds the user's password, relative to the file that names it.
	PasswordFile string `json:"passwordFile,omitempty" jsonschema:"minLength=1"`
	// APIKeyEnv is the variable of the environment that holds an API key.
	APIKeyEnv string `json:"apiKeyEnv,omitempty" jsonschema:"minLength=1"`
	// APIKeyFile holds an API key, relative to the file that names it.
	APIKeyFile string `json:"apiKeyFile,omitempty" jsonschema:"minLength=1"`
	// CAFile holds the authorities that the service's certificate is checked by, in PEM form, relative to the file that names it.
	CAFile string `json:"caFile,omitempty" jsonschema:"minLength=1"`
}

// Setting is a text, a number, a truth value, a list of these, or nothing.
type Setting struct{ Value any }

// UnmarshalJSON keeps whole numbers whole.
func (s *Setting) UnmarshalJSON(data []byte) (err error) {
	s.Value, err = decodeAny(data)
	return err
}

// JSONSchema describes the types.
func (Setting) JSONSchema() *jsonschema.Schema {
	scalar := []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}
	return &jsonschema.Schema{AnyOf: append(scalar, &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{AnyOf: scalar}}, &jsonschema.Schema{Type: "null"}),
		Description: "A text, a number, true or false, a list of these, or null."}
}

func checkFlowControl(f *FlowControl, report reporter) {
	if f.URL != "" {
		checkServiceURL(f, report)
	}
	if c := f.Credentials; c != nil {
		checkCredentials(c, report)
	}
}

func checkServiceURL(f *FlowControl, report reporter) {
	u, err := url.Parse(f.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		report("url", "is no address of a service", "write https://HOST:PORT") // it is not repeated: it may hold a password
	case u.User != nil:
		report("url", "has a user in it", "write credentials: {username: …, passwordEnv: …}, so that no record holds the password")
	case f.Port != 0:
		report("port", "is given beside url", "write it in url")
	}
	if strings.ContainsAny(f.Service, ".:/") && f.URL != "" {
		report("service", "is what checks call the service at url", "write a short name")
	}
}

func checkCredentials(c *Credentials, report reporter) {
	password, key := btoi(c.PasswordEnv != "")+btoi(c.PasswordFile != ""), btoi(c.APIKeyEnv != "")+btoi(c.APIKeyFile != "")
	switch {
	case password > 1:
		report("credentials", "has both passwordEnv and passwordFile", "remove one of them")
	case key > 1:
		report("credentials", "has both apiKeyEnv and apiKeyFile", "remove one of them")
	case key == 1 && (password == 1 || c.Username != ""):
		report("credentials", "has a user and an API key", "remove one of them")
	case (c.Username != "") != (password == 1):
		report("credentials", "needs username together with passwordEnv or passwordFile", "")
	case key+password == 0 && c.CAFile == "":
		report("credentials", "is empty", "write username with passwordEnv, or apiKeyEnv, or remove it")
	}
}
