package scenario

import "slices"

// ClusterScoped reports whether objects of a kind are in no namespace: those of Kubernetes and the Gateway API, and of some operators that
// many clusters have. What is not known here is found out by the API when the object is looked for.
func ClusterScoped(kind string) bool {
	return slices.Contains([]string{
		"Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "APIService",
		"StorageClass", "VolumeAttachment", "VolumeAttributesClass", "CSIDriver", "CSINode", "GatewayClass", "IngressClass", "IPAddress", "ServiceCIDR",
		"PriorityClass", "RuntimeClass", "DeviceClass", "ResourceSlice", "FlowSchema", "PriorityLevelConfiguration",
		"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "CertificateSigningRequest", "ClusterTrustBundle",
		"ClusterIssuer", "ClusterPolicy", "ClusterSecretStore", "ClusterExternalSecret",
	}, kind)
}
