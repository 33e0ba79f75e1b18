package local

import "squall/internal/toolchain"

// Available says which programs that stand for the objects' images this machine would have to bring and does not: *toolchain.Error
// values, joined. The others are brought by toolchain.Ensure, or are the user's own, which ReadFacts looks at. objects are as
// decoded from their manifests; extra are the user's own NAME=PROGRAM images.
func Available(objects []map[string]any, extra map[string]string) error {
	const database = "squall: a database"
	table := images(toolchain.Tools{MySQL: database})
	if err := addImages(table, extra); err != nil {
		return err
	}
	for _, o := range objects {
		for _, image := range containerImages(o) {
			if table[imageName(image)].Path == database {
				_, err := toolchain.FindMySQL()
				return err
			}
		}
	}
	return nil
}

// containerImages are the images of a Deployment's containers.
func containerImages(o map[string]any) []string {
	if o["kind"] != "Deployment" {
		return nil
	}
	at := any(o)
	for _, name := range []string{"spec", "template", "spec", "containers"} {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	list, _ := at.([]any)
	var out []string
	for _, c := range list {
		m, _ := c.(map[string]any)
		image, _ := m["image"].(string)
		out = append(out, image)
	}
	return out
}
