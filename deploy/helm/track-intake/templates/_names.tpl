{{- define "track-intake.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "track-intake.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "track-intake.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "track-intake.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: worker
{{- end -}}

{{- define "track-intake.labels" -}}
{{ include "track-intake.selector" . }}
{{ include "track-intake.release" . }}
{{- end -}}

{{- define "track-intake.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of what is not the worker: no selector of the worker may find it. */}}
{{- define "track-intake.aside" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{ include "track-intake.release" .root }}
{{- end -}}

{{- define "track-intake.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A value as the environment has it. Helm reads every number as a float: 67108864 would become 6.7108864e+07. */}}
{{- define "track-intake.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (floor .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* What a setting is: the value given, else the worker's own default (files/defaults.json is made from its code). */}}
{{- define "track-intake.setting" -}}
{{- $defaults := .root.Files.Get "files/defaults.json" | fromJson -}}
{{- $given := get .root.Values.settings .name -}}
{{- if or (kindIs "invalid" $given) (eq (toString $given) "") -}}
{{- include "track-intake.text" (get $defaults .name) -}}
{{- else -}}
{{- include "track-intake.text" $given -}}
{{- end -}}
{{- end -}}

{{- define "track-intake.httpPort" -}}
{{ include "track-intake.setting" (dict "root" . "name" "HTTP_PORT") }}
{{- end -}}

{{- define "track-intake.gracePeriod" -}}
{{- $drain := include "track-intake.setting" (dict "root" . "name" "DRAIN_SECONDS") | float64 | ceil | int -}}
{{- $grace := .Values.terminationGracePeriodSeconds | default (add $drain 30) | int -}}
{{- if le $grace $drain -}}
{{- fail (printf "terminationGracePeriodSeconds (%d) must lie above DRAIN_SECONDS (%d): the worker would be killed while it drains" $grace $drain) -}}
{{- end -}}
{{- $grace -}}
{{- end -}}

{{- define "track-intake.webhookUrl" -}}
{{- with .Values.webhook -}}
{{- if .url -}}
{{- .url -}}
{{- else if and .ingress.enabled .ingress.host -}}
https://{{ .ingress.host }}/webhooks/humanstandard
{{- else -}}
{{- fail "webhook.enabled needs webhook.url, or webhook.ingress with a host: the API must be told an address" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The metrics are told apart by what Prometheus adds to them: the namespace and the Service of the scrape. */}}
{{- define "track-intake.backlogQuery" -}}
{{- $of := printf "{namespace=%q,service=%q}" .Release.Namespace (include "track-intake.fullname" .) -}}
sum(track_intake_partition_queued{{ $of }}) + sum(track_intake_partition_retrying{{ $of }}) + sum(track_intake_partition_in_flight{{ $of }}) + sum(track_intake_partition_unpublished{{ $of }})
{{- end -}}
