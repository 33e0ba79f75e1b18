package kubeapi

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig is a kubeconfig file for this API at a URL, with the namespace that kubectl uses when none is given
// ("default" if empty). The context is named squall.
func (s *Server) Kubeconfig(url, namespace string) []byte {
	const name = "squall"
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: url}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: namespace}
	c.CurrentContext = name
	b, err := clientcmd.Write(*c)
	if err != nil {
		panic(fmt.Sprintf("kubeapi: encode a kubeconfig: %v", err)) // plain strings always encode
	}
	return b
}
