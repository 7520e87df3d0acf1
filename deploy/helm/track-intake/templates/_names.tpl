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

{{- define "track-intake.milliseconds" -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- if hasSuffix "ms" . -}}{{- $number -}}{{- else if hasSuffix "m" . -}}{{- mul $number 60000 -}}{{- else -}}{{- mul $number 1000 -}}{{- end -}}
{{- end -}}

{{/* What would be refused late: by the cluster, in words about manifests, or by each worker as it starts. */}}
{{- define "track-intake.checked" -}}
{{- range splitList "," (toString .Values.settings.KAFKA_BOOTSTRAP_SERVERS) -}}
{{- if not (regexMatch "^[^/]+:[0-9]+$" (trim .)) -}}
{{- fail (printf "settings.KAFKA_BOOTSTRAP_SERVERS: expected host:port, comma separated, and found %q" (trim .)) -}}
{{- end -}}
{{- end -}}
{{- $http := include "track-intake.httpPort" . | trim -}}
{{- if not (and (regexMatch "^[0-9]+$" $http) (ge (int $http) 1) (le (int $http) 65535)) -}}
{{- fail (printf "settings.HTTP_PORT: expected a port from 1 to 65535, which probes and the Service can name, and found %q" $http) -}}
{{- end -}}
{{- if .Values.webhook.enabled -}}
{{- if eq (int $http) (int .Values.webhook.port) -}}
{{- fail (printf "webhook.port and settings.HTTP_PORT are both %s: the one is open to the world, the other is not" $http) -}}
{{- end -}}
{{- $blocks := list -}}
{{- range .Values.networkPolicy.webhookFrom -}}{{- if .ipBlock -}}{{- $blocks = append $blocks . -}}{{- end -}}{{- end -}}
{{- if and .Values.networkPolicy.enabled (ne .Values.webhook.service.type "ClusterIP") (not $blocks) -}}
{{- fail (printf "networkPolicy.webhookFrom has no ipBlock: what comes through a %s has an address that is no pod's and would be let through nowhere; such as {ipBlock: {cidr: 0.0.0.0/0}}" .Values.webhook.service.type) -}}
{{- end -}}
{{- else -}}
{{- range $name := list "WEBHOOK_SECRET" "WEBHOOK_SECRET_OLD" -}}
{{- if hasKey $.Values.secrets $name -}}
{{- fail (printf "secrets.%s without webhook.enabled: the worker would not start; leave it out, or enable webhooks" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.serviceMonitor -}}
{{- if gt (include "track-intake.milliseconds" .scrapeTimeout | int) (include "track-intake.milliseconds" .interval | int) -}}
{{- fail (printf "serviceMonitor.scrapeTimeout (%s) is above serviceMonitor.interval (%s): nothing would be scraped" .scrapeTimeout .interval) -}}
{{- end -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas (%d) is above autoscaling.maxReplicas (%d)" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
