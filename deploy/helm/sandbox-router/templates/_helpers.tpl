{{- define "sandbox-router.labels" -}}
app.kubernetes.io/part-of: agent-sandbox
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "sandbox-router.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:sandbox-router
{{- end }}

{{- /* Binds the ClusterRole of this name: in the whole cluster, or in each of the namespaces that are served. */ -}}
{{- define "sandbox-router.binding" -}}
{{- $name := .name -}}
{{- $root := .root -}}
{{- range (.root.Values.namespaces | default (list "")) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ empty . | ternary "ClusterRoleBinding" "RoleBinding" }}
metadata:
  name: {{ $name }}
  {{- if . }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "sandbox-router.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: sandbox-router
    namespace: {{ $root.Release.Namespace }}
{{- end }}
{{- end }}

{{- /* The environment variable of a setting: baseDomain is SANDBOX_ROUTER_BASE_DOMAIN. */ -}}
{{- define "sandbox-router.variable" -}}
SANDBOX_ROUTER_{{ snakecase . | upper }}
{{- end }}

{{- /* A setting's value as the text of a variable. Numbers reach templates as floats, and a large one would print as 1e+07. */ -}}
{{- define "sandbox-router.text" -}}
{{- if kindIs "slice" .value }}{{ join "," .value }}
{{- else if and (kindIs "float64" .value) (eq .value (floor .value)) }}{{ int64 .value }}
{{- else }}{{ .value }}
{{- end }}
{{- end }}

{{- /* The part of the configuration file that takes a restart to be in force. */ -}}
{{- define "sandbox-router.settingsReadOnce" -}}
{{- toYaml (omit .Values.config "tenants" "egressRequired" "egressClasses" "runtime" "runtimeRequire" "runtimeClasses") }}
{{- end }}
