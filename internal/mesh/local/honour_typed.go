package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"squall/internal/mesh"
)

const template = "spec.template."

// decode gives an object its type and judges what needs more than one field. It returns nil for an object that does not
// have the type.
func (c *checker) decode(o map[string]any, into any) any {
	b, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		c.wrongType(o, err)
		return nil
	}
	switch x := into.(type) {
	case *appsv1.Deployment:
		c.deployment(x)
	case *corev1.Service:
		for i, p := range x.Spec.Ports {
			c.port(fmt.Sprintf("spec.ports[%d].port", i), p.Port)
		}
	}
	return into
}

// wrongType reports a value of the wrong type, unless something around it or in it is a problem already.
func (c *checker) wrongType(o map[string]any, err error) {
	path, what := "", err.Error()
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		path, what = locate(o, t.Field), fmt.Sprintf("is a %s and has to be a %s", t.Value, t.Type)
	}
	if !slices.ContainsFunc(c.found, func(p Problem) bool { return strings.HasPrefix(path, p.Path) || strings.HasPrefix(p.Path, path) }) {
		c.add(path, what, "see kubectl explain")
	}
}

// locate puts the indices of lists into a path that lacks them; where a list has several elements it ends at the list.
func locate(v any, field string) string {
	path := ""
	for _, name := range strings.Split(field, ".") {
		if l, ok := v.([]any); ok {
			if len(l) != 1 {
				return path
			}
			v, path = l[0], path+"[0]"
		}
		m, _ := v.(map[string]any)
		v, path = m[name], join(path, name)
	}
	return path
}

func (c *checker) deployment(d *appsv1.Deployment) {
	pod := &d.Spec.Template
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	switch {
	case d.Spec.Selector == nil:
		c.add("spec.selector", "is missing", "write spec.selector.matchLabels as the template's labels are")
	case err != nil:
		c.add("spec.selector", err.Error(), "")
	case !selector.Matches(labels.Set(pod.Labels)):
		c.add("spec.selector", "does not match the labels of spec.template", "give both the same labels")
	}
	for _, name := range sortedKeys(pod.Annotations) {
		if injectorAnnotation(name) && !slices.Contains(proxyAnnotations(), name) {
			c.add(join(template+"metadata.annotations", name), "the local mesh cannot honour it", onCluster)
		}
	}
	if n := len(pod.Spec.Containers); n != 1 {
		c.add(template+"spec.containers", fmt.Sprintf("a pod of the local mesh has exactly one container, not %d", n), "give each program a Deployment of its own")
		return
	}
	if isGateway(&pod.ObjectMeta) {
		c.checkGateway(template+"spec.containers[0]", pod)
		return
	}
	c.container(template+"spec.containers[0]", &pod.Spec.Containers[0])
}

// checkSelectors finds Gateways that select none of the gateways: the ingress gateway and those among the objects.
func checkSelectors(objects []map[string]any, decoded []any) []Problem {
	gateways := []map[string]string{mesh.IngressLabels()}
	for _, d := range decoded {
		if deployment, ok := d.(*appsv1.Deployment); ok && isGateway(&deployment.Spec.Template.ObjectMeta) {
			gateways = append(gateways, deployment.Spec.Template.Labels)
		}
	}
	var out []Problem
	for i, o := range objects {
		apiVersion, _ := o["apiVersion"].(string)
		if o["kind"] == "Gateway" && strings.HasPrefix(apiVersion, "networking.istio.io/") {
			c := checker{index: i}
			c.selectsNobody(o, gateways)
			out = append(out, c.found...)
		}
	}
	return out
}

func (c *checker) container(at string, k *corev1.Container) {
	known := slices.Contains(c.facts.Images, imageName(k.Image))
	switch {
	case len(k.Command) > 0 && !(known && ofImage(k)) && !isExecutable(k.Command[0]):
		c.add(at+".command", k.Command[0]+" is neither the program that stands for the image nor a file of this machine that can be run",
			"remove it; args are honoured, and --image NAME=PROGRAM names the program")
	case len(k.Command) == 0 && !known:
		c.add(at+".image", "no program stands for the image "+k.Image+" on the local mesh",
			"give --image "+imageName(k.Image)+"=PROGRAM; there are "+strings.Join(c.facts.Images, ", "))
	}
	for i, p := range k.Ports {
		c.port(fmt.Sprintf("%s.ports[%d].containerPort", at, i), p.ContainerPort)
	}
	if p := k.ReadinessProbe; p != nil {
		for where, port := range probePorts(p) {
			if _, ok := containerPort(k, port); !ok {
				c.add(at+".readinessProbe."+where, "the container declares no port "+port.String(), "add it to the container's ports")
			}
		}
	}
}

// port judges a port at which a proxy has to listen.
func (c *checker) port(path string, port int32) {
	if port >= 1 && port <= 65535 && int(port) < c.facts.FirstPort {
		c.add(path, fmt.Sprintf("this user may not listen at ports below %d", c.facts.FirstPort),
			fmt.Sprintf("use a higher port, or let root run: sysctl net.ipv4.ip_unprivileged_port_start=%d", port))
	}
}

// checkTogether finds services whose ports lead to none of the ports that their pods declare. Other than on a cluster a program
// listens at the ports that its container declares, and at no others.
func checkTogether(decoded []any) []Problem {
	var out []Problem
	for i, s := range decoded {
		service, ok := s.(*corev1.Service)
		if !ok || len(service.Spec.Selector) == 0 {
			continue
		}
		selector := labels.SelectorFromSet(service.Spec.Selector)
		for _, d := range decoded {
			deployment, ok := d.(*appsv1.Deployment)
			if !ok || deployment.Namespace != service.Namespace || !selector.Matches(labels.Set(deployment.Spec.Template.Labels)) {
				continue
			}
			c := checker{index: i}
			c.targets(service, deployment)
			out = append(out, c.found...)
		}
	}
	return out
}

func (c *checker) targets(s *corev1.Service, d *appsv1.Deployment) {
	if len(d.Spec.Template.Spec.Containers) != 1 {
		return
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		target := targetOf(p)
		if _, ok := containerPort(&d.Spec.Template.Spec.Containers[0], target); ok {
			continue
		}
		path := fmt.Sprintf("spec.ports[%d].targetPort", i)
		c.add(path, fmt.Sprintf("the container of deployment %s declares no port %s", d.Name, target.String()), "add it to the container's ports")
	}
}
