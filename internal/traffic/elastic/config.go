package elastic

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// Secret is a text that nothing prints: it shows as REDACTED wherever it is formatted or encoded.
type Secret string

// redacted is what shows of a secret.
const redacted = "REDACTED"

// applicationEntry is the entry of a ConfigMap or Secret that is the configuration.
const applicationEntry = "application.yaml"

// manifest is a ConfigMap or a Secret.
type manifest struct {
	APIVersion, Kind string
	Data, StringData map[string]string
}

// unwrap takes the configuration out of a ConfigMap or a Secret. What is wrong with a text that is no manifest is said where it is read as
// what it is.
func unwrap(text []byte) ([]byte, error) {
	var m manifest
	if yaml.Unmarshal(text, &m) == nil && (m.APIVersion != "" || m.Kind != "") {
		return m.application()
	}
	return text, nil
}

func (m manifest) application() ([]byte, error) {
	inner, plain := m.StringData[applicationEntry]
	if m.Kind == "ConfigMap" {
		inner, plain = m.Data[applicationEntry]
	}
	if encoded, ok := m.Data[applicationEntry]; ok && m.Kind == "Secret" && !plain {
		b, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, fmt.Errorf("the store's configuration: data.%s of the Secret is not base64", applicationEntry)
		}
		return b, nil
	}
	if m.Kind != "ConfigMap" && m.Kind != "Secret" || !plain {
		return nil, fmt.Errorf("the store's configuration: a %s is none; a ConfigMap or a Secret with an entry %s is", m.Kind, applicationEntry)
	}
	return []byte(inner), nil
}

// String is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is no secret.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// MarshalJSON is no secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Config says where Elasticsearch is.
type Config struct {
	URLs     []string // without user and password
	Username string
	Password Secret
	APIKey   Secret
	CA       []byte // PEM of the authorities that are trusted beside none; empty are the machine's
	Insecure bool   // takes any certificate
	Index    string // what the names of indices begin with; empty is squall-traffic

	// Spool is a folder for records that cannot be sent. Without one, nothing is taken while Elasticsearch is down.
	Spool      string
	SpoolBytes int64 // that it may hold; 0 is 1 GiB

	// Dial connects to the server, whatever its URL; nil is by its host and port.
	Dial func(ctx context.Context) (net.Conn, error) `json:"-"`
}

// file is application.yaml.
type file struct {
	Driver   string  `json:"ds_driver"`
	URL      string  `json:"url"`
	Username string  `json:"username"`
	Passworl *Secret `json:"passworld"` // as SolarMesh spells it
	Password *Secret `json:"password"`
	APIKey   Secret  `json:"api_key"`
	CAFile   string  `json:"ca_file"`
	CA       string  `json:"ca"`
	Insecure bool    `json:"insecure_skip_verify"`
	Index    string  `json:"index"`
	Spool    string  `json:"spool"`
	Bytes    int64   `json:"spool_bytes"`
}

// ParseConfig reads an application.yaml: ds_driver, url, username and passworld as SolarMesh's grpc-logging has them, or password; also
// api_key, ca or ca_file, insecure_skip_verify, index, spool and spool_bytes. Several URLs stand one after another, by comma. Errors show no
// secret.
//
// A ConfigMap or a Secret may hold it as its entry application.yaml.
func ParseConfig(text []byte) (Config, error) {
	text, err := unwrap(text)
	if err != nil {
		return Config{}, err
	}
	var f file
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		return Config{}, fmt.Errorf("the store's configuration: %s", withoutValues(err))
	}
	if f.Driver != "" && !strings.EqualFold(f.Driver, "elastic") && !strings.EqualFold(f.Driver, "elasticsearch") {
		return Config{}, fmt.Errorf("the store's configuration: ds_driver is %q: Elastic is what is known beside no driver, which is SQLite", f.Driver)
	}
	c := Config{Username: f.Username, APIKey: f.APIKey, Insecure: f.Insecure, Index: f.Index, Spool: f.Spool, SpoolBytes: f.Bytes, CA: []byte(f.CA)}
	switch {
	case f.Password != nil && f.Passworl != nil && *f.Password != *f.Passworl:
		return Config{}, errors.New("the store's configuration: password and passworld differ: keep one")
	case f.Password != nil:
		c.Password = *f.Password
	case f.Passworl != nil:
		c.Password = *f.Passworl
	}
	for u := range strings.SplitSeq(f.URL, ",") {
		if u = strings.TrimSpace(u); u != "" {
			c.URLs = append(c.URLs, u)
		}
	}
	if f.CAFile != "" {
		if f.CA != "" {
			return Config{}, errors.New("the store's configuration: ca and ca_file: keep one")
		}
		pem, err := os.ReadFile(f.CAFile)
		if err != nil {
			return Config{}, fmt.Errorf("the store's configuration: ca_file: %w", err)
		}
		c.CA = pem
	}
	return c.checked()
}

// withoutValues keeps of a decoder's message what is no value: those of a password must not be shown.
func withoutValues(err error) string {
	text := err.Error()
	if i := strings.Index(text, "unknown field"); i >= 0 {
		return text[i:]
	}
	if i := strings.Index(text, "already set in map"); i >= 0 {
		return "a key is there twice"
	}
	return "it is no YAML of keys and texts, such as url: http://elasticsearch:9200"
}

// checked fills in and refuses.
func (c Config) checked() (Config, error) {
	if len(c.URLs) == 0 {
		return c, errors.New("the store's configuration: url is missing: give Elasticsearch's, such as http://elasticsearch:9200")
	}
	for i, text := range c.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return c, fmt.Errorf("the store's configuration: url number %d is no http or https URL with a host", i+1)
		}
		if u.User != nil {
			if password, ok := u.User.Password(); ok && c.Password == "" {
				c.Password = Secret(password)
			}
			if c.Username == "" {
				c.Username = u.User.Username()
			}
			u.User = nil
		}
		c.URLs[i] = strings.TrimSuffix(u.String(), "/")
	}
	if c.Password != "" && c.Username == "" {
		return c, errors.New("the store's configuration: there is a password and no username")
	}
	if c.APIKey != "" && c.Username != "" {
		return c, errors.New("the store's configuration: there are an API key and a username: keep one")
	}
	if c.Index == "" {
		c.Index = "squall-traffic"
	}
	if c.Index != strings.ToLower(c.Index) || strings.ContainsAny(c.Index, `\/*?"<>| ,#:`) || strings.HasPrefix(c.Index, "-") || strings.HasPrefix(c.Index, "_") || strings.HasPrefix(c.Index, ".") {
		return c, fmt.Errorf("the store's configuration: index is %q: lower-case letters, digits and hyphens make a name", c.Index)
	}
	if c.SpoolBytes == 0 {
		c.SpoolBytes = 1 << 30
	}
	return c, nil
}
