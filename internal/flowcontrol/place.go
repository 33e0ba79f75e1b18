package flowcontrol

import (
	"cmp"
	"fmt"
	"os"
	"strings"
)

// Place says where the flow control of a service is asked, and who asks. There is no secret in it, so that it can be written down.
type Place struct {
	Name string `json:"name"` // what checks call the service
	// URL is where a service is that is not in the mesh.
	URL string `json:"url,omitempty"`
	// Namespace, Service and Port are those of a Service of the mesh.
	Namespace   string      `json:"namespace,omitempty"`
	Service     string      `json:"service,omitempty"`
	Port        int         `json:"port,omitempty"`
	Credentials Credentials `json:"credentials,omitzero"`
}

// String is where, for people.
func (p Place) String() string {
	if p.URL != "" {
		return p.URL
	}
	return fmt.Sprintf("%s:%d of namespace %s", p.Service, p.Port, p.Namespace)
}

// Credentials say who asks, and where the secrets are.
type Credentials struct {
	Username string `json:"username,omitempty"`
	Password Secret `json:"password,omitzero"`
	APIKey   Secret `json:"apiKey,omitzero"`
	CAFile   string `json:"caFile,omitempty"` // PEM
}

// Secret is where a secret is: in a variable of the environment, or in a file. The zero value is that there is none.
type Secret struct {
	Env  string `json:"env,omitempty"`
	File string `json:"file,omitempty"`
}

// String is where the secret is.
func (s Secret) String() string {
	if s.Env != "" {
		return "the variable " + s.Env
	}
	return cmp.Or(s.File, "nowhere")
}

// read is the secret; a line end behind it is no part of it.
func (s Secret) read() (string, error) {
	switch {
	case s.Env != "":
		if v := os.Getenv(s.Env); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("the variable %s of the environment is empty or not set: set it", s.Env)
	case s.File == "":
		return "", nil
	}
	b, err := os.ReadFile(s.File)
	if err != nil {
		return "", err
	}
	if v := strings.TrimRight(string(b), "\r\n"); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s is empty", s.File)
}

// Options are those of a client that asks at the place. They hold the secrets, which have to be there.
func (p Place) Options() (Options, error) {
	o := Options{URL: p.URL, Username: p.Credentials.Username}
	if o.URL == "" {
		o.URL = fmt.Sprintf("http://%s:%d", p.Service, p.Port)
	}
	var err error
	if o.Password, err = p.Credentials.Password.read(); err != nil {
		return o, fmt.Errorf("flow control of %s: the password: %w", p.Name, err)
	}
	if o.APIKey, err = p.Credentials.APIKey.read(); err != nil {
		return o, fmt.Errorf("flow control of %s: the API key: %w", p.Name, err)
	}
	if p.Credentials.CAFile != "" {
		if o.CA, err = os.ReadFile(p.Credentials.CAFile); err != nil {
			return o, fmt.Errorf("flow control of %s: the CA: %w", p.Name, err)
		}
	}
	return o, nil
}
