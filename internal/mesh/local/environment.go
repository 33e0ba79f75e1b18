package local

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// environment sets what a container's program sees: its env and envFrom, where it has to listen, and PATH, HOME and TMPDIR.
func (k *kubelet) environment(p *pod) error {
	if p.program.Builtin {
		return nil
	}
	c := p.container()
	p.vars = map[string]string{}
	p.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "TMPDIR=" + p.dir, "HOST=" + p.ip.String(), "POD_IP=" + p.ip.String(), "HOSTNAME=" + p.object.Name}
	for _, name := range sortedKeys(p.program.Env) {
		p.setEnv(name, p.program.Env[name])
	}
	if len(c.Ports) > 0 {
		p.env = append(p.env, "PORT="+strconv.Itoa(p.port(c.Ports[0].ContainerPort)))
	}
	for i := range c.EnvFrom {
		if err := k.envFrom(p, &c.EnvFrom[i]); err != nil {
			return err
		}
	}
	for _, e := range c.Env {
		v, ok := expand(e.Value, p.vars), true
		if e.ValueFrom != nil {
			var err error
			if v, ok, err = k.valueFrom(p, e.ValueFrom); err != nil {
				return fmt.Errorf("env %s: %w", e.Name, err)
			}
		}
		if ok {
			p.setEnv(e.Name, v)
		}
	}
	return nil
}

// setEnv sets a variable of the program. PORT with a container port is where the program listens in its place.
func (p *pod) setEnv(name, value string) {
	for _, cp := range p.container().Ports {
		if name == "PORT" && value == strconv.Itoa(int(cp.ContainerPort)) {
			value = strconv.Itoa(p.port(cp.ContainerPort))
		}
	}
	p.vars[name] = value
	p.env = append(p.env, name+"="+value)
}

func (k *kubelet) envFrom(p *pod, from *corev1.EnvFromSource) error {
	var data map[string]string
	var err error
	switch {
	case from.ConfigMapRef != nil:
		data, err = k.configMap(p, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		data, err = k.secret(p, from.SecretRef.Name, from.SecretRef.Optional)
	}
	for _, name := range sortedKeys(data) {
		p.setEnv(from.Prefix+name, data[name])
	}
	return err
}

// valueFrom is the value of a variable; ok is false where the source is optional and not there.
func (k *kubelet) valueFrom(p *pod, from *corev1.EnvVarSource) (value string, ok bool, err error) {
	switch {
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		data, err := k.configMap(p, r.Name, r.Optional)
		return pick(data, "config map "+r.Name, r.Key, r.Optional, err)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		data, err := k.secret(p, r.Name, r.Optional)
		return pick(data, "secret "+r.Name, r.Key, r.Optional, err)
	case from.FieldRef != nil:
		if read, ok := podFields()[from.FieldRef.FieldPath]; ok {
			return read(p), true, nil
		}
		if v, ok := p.metadata(from.FieldRef.FieldPath); ok {
			return v, true, nil
		}
		return "", false, fmt.Errorf("the local mesh does not know the field %s", from.FieldRef.FieldPath)
	}
	return "", false, errors.New("the local mesh knows configMapKeyRef, secretKeyRef and fieldRef only")
}

func pick(data map[string]string, what, key string, optional *bool, err error) (string, bool, error) {
	v, ok := data[key]
	if err == nil && !ok && !isTrue(optional) {
		err = &missingError{what: "key " + key + " of " + what}
	}
	return v, ok, err
}

func isTrue(b *bool) bool { return b != nil && *b }

// podFields are what fieldRef can name besides single labels and annotations.
func podFields() map[string]func(*pod) string {
	return map[string]func(*pod) string{
		"metadata.name":           func(p *pod) string { return p.object.Name },
		"metadata.namespace":      func(p *pod) string { return p.object.Namespace },
		"spec.nodeName":           func(*pod) string { return nodeName },
		"spec.serviceAccountName": func(p *pod) string { return p.object.Spec.ServiceAccountName },
		"status.hostIP":           func(*pod) string { return hostIP },
		"status.podIP":            func(p *pod) string { return p.ip.String() },
		"status.podIPs":           func(p *pod) string { return p.ip.String() },
	}
}

// metadata is the label or annotation that a path such as metadata.labels['app'] names, "" when the pod does not have it.
func (p *pod) metadata(path string) (value string, ok bool) {
	field, key, ok := metadataKey(path)
	if field == "labels" {
		return p.object.Labels[key], ok
	}
	return p.object.Annotations[key], ok
}

func metadataKey(path string) (field, key string, ok bool) {
	for _, field := range []string{"labels", "annotations"} {
		if rest, found := strings.CutPrefix(path, "metadata."+field+"['"); found && strings.HasSuffix(rest, "']") && len(rest) > 2 {
			return field, strings.TrimSuffix(rest, "']"), true
		}
	}
	return "", "", false
}

func (k *kubelet) configMap(p *pod, name string, optional *bool) (map[string]string, error) {
	cm, err := k.configMaps.ConfigMaps(p.object.Namespace).Get(name)
	switch {
	case apierrors.IsNotFound(err) && isTrue(optional):
		return nil, nil
	case err != nil:
		return nil, missing("config map "+name, err)
	}
	return cm.Data, nil
}

func (k *kubelet) secret(p *pod, name string, optional *bool) (map[string]string, error) {
	s, err := k.secrets.Secrets(p.object.Namespace).Get(name)
	switch {
	case apierrors.IsNotFound(err) && isTrue(optional):
		return nil, nil
	case err != nil:
		return nil, missing("secret "+name, err)
	}
	out := map[string]string{}
	for key, v := range s.Data {
		out[key] = string(v)
	}
	return out, nil
}

// expand replaces $(NAME) as Kubernetes does: $$ stands for $, and a name that is not there stays as it is.
func expand(s string, vars map[string]string) string {
	return reference().ReplaceAllStringFunc(s, func(ref string) string {
		if ref == "$$" {
			return "$"
		}
		if v, ok := vars[ref[2:len(ref)-1]]; ok {
			return v
		}
		return ref
	})
}

func reference() *regexp.Regexp { return regexp.MustCompile(`\$\$|\$\([^()]*\)`) }

// listen expands $(POD_IP) and $(PORT_n) in an argument that makes a program listen. It is "disabled" when it names a port that the
// container does not declare.
func (p *pod) listen(arg string) string {
	vars := map[string]string{"POD_IP": p.ip.String()}
	for _, port := range p.container().Ports {
		vars[fmt.Sprintf("PORT_%d", port.ContainerPort)] = strconv.Itoa(p.port(port.ContainerPort))
	}
	if out := expand(arg, vars); !strings.Contains(out, "$(PORT_") {
		return out
	}
	return "disabled"
}
