package kind

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"sigs.k8s.io/yaml"
)

func (c *cluster) configFile() string { return filepath.Join(c.Dir, c.Name+".config.yaml") }

// config is the file that kind is given: Config itself, or what Config and Patch make together.
func (c *cluster) config() (string, error) {
	if c.Patch == "" {
		if _, err := readConfig(c.Config); err != nil {
			return "", err
		}
		return c.Config, nil
	}
	merged, err := Merge(c.Config, c.Patch)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(c.configFile(), merged, 0o600); err != nil {
		return "", fmt.Errorf("configuration of the cluster %s: %w", c.Name, err)
	}
	return c.configFile(), nil
}

// Merge merges the patch into kind's configuration, both files of YAML, as RFC 7386 says: a field of the patch replaces or
// adds, null removes, and a list is replaced as a whole.
func Merge(config, patch string) ([]byte, error) {
	base, err := readConfig(config)
	if err != nil {
		return nil, err
	}
	change, err := readYAML(patch)
	if err != nil {
		return nil, err
	}
	merged, err := jsonpatch.MergePatch(base, change)
	if err == nil {
		merged, err = yaml.JSONToYAML(merged)
	}
	if err != nil {
		return nil, invalidConfig(patch, err)
	}
	return append([]byte("# "+config+" with "+patch+"\n"), merged...), nil
}

// readConfig reads a configuration of kind as JSON. Its fields are kind's to check.
func readConfig(path string) ([]byte, error) {
	text, err := readYAML(path)
	if err != nil {
		return nil, err
	}
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(text, &head); err != nil {
		return nil, invalidConfig(path, err)
	}
	if head.Kind != "Cluster" || !strings.HasPrefix(head.APIVersion, "kind.x-k8s.io/") {
		return nil, invalidConfig(path, fmt.Errorf("it is kind %q of %q: write kind: Cluster and apiVersion: kind.x-k8s.io/v1alpha4",
			head.Kind, head.APIVersion))
	}
	return text, nil
}

// readYAML reads a YAML file of one object as JSON.
func readYAML(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, invalidConfig(path, err)
	}
	text, err = yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, invalidConfig(path, err)
	}
	if !strings.HasPrefix(string(text), "{") {
		return nil, invalidConfig(path, errors.New("it is no YAML object"))
	}
	return text, nil
}

func invalidConfig(path string, err error) error {
	return &Error{"kind's configuration " + path, "correct the file; its fields are in https://kind.sigs.k8s.io/docs/user/configuration.", err}
}

// explainConfig names the files that an error of kind about its configuration is about.
func (c *cluster) explainConfig(err error) error {
	var known *Error
	if !errors.As(err, &known) || known.Fix != fixConfig {
		return err
	}
	files := c.Config
	if c.Patch != "" {
		files += " with " + c.Patch
	}
	return invalidConfig(files, known.Err)
}
