// Command kubectl is Kubernetes' own kubectl, whose command is a library, built at the version that Squall's API speaks. The tests
// of that API use it, and so can a person without a kubectl.
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
