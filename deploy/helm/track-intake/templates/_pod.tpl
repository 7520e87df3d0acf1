{{- define "track-intake.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001 # reads what is mounted from Secrets
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "track-intake.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The environment of the worker and of the commands that an operator runs with its settings. */}}
{{- define "track-intake.env" -}}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $name }}
  value: {{ include "track-intake.text" $value | quote }}
{{- end }}
{{- end }}
{{- range $name, $from := .Values.secrets }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.name | quote }}
      key: {{ $from.key | default $name | quote }}
{{- end }}
{{- with .Values.tls.kafka }}
{{- if .secretName }}
{{- range $name, $key := dict "KAFKA_SSL_CAFILE" .ca "KAFKA_SSL_CERTFILE" .cert "KAFKA_SSL_KEYFILE" .key }}
{{- if $key }}
- name: {{ $name }}
  value: {{ printf "/etc/track-intake/kafka/%s" $key | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.tls.api }}
{{- if .secretName }}
- name: HS_CA_FILE
  value: {{ printf "/etc/track-intake/api/%s" .ca | quote }}
{{- end }}
{{- end }}
{{- if .Values.webhook.enabled }}
- name: WEBHOOK_URL
  value: {{ include "track-intake.webhookUrl" . | quote }}
- name: WEBHOOK_PORT
  value: {{ include "track-intake.text" .Values.webhook.port | quote }}
{{- end }}
{{- with .Values.tracing.endpoint }}
- name: TRACING
  value: "true"
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "track-intake.mounts" -}}
{{- if .Values.tls.kafka.secretName }}
- name: kafka
  mountPath: /etc/track-intake/kafka
  readOnly: true
{{- end }}
{{- if .Values.tls.api.secretName }}
- name: api
  mountPath: /etc/track-intake/api
  readOnly: true
{{- end }}
{{- if .Values.policies.configMap }}
- name: policies
  mountPath: /etc/track-intake/policies
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "track-intake.volumes" -}}
{{- with .Values.tls.kafka.secretName }}
- name: kafka
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.api.secretName }}
- name: api
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.policies.configMap }}
- name: policies
  configMap:
    name: {{ . | quote }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A pod that runs one command with the worker's settings and ends. The service account's token is not needed. */}}
{{- define "track-intake.commandPod" -}}
restartPolicy: Never
{{- with .serviceAccount }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false # their variables would stand among the settings
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "track-intake.podSecurity" .root | nindent 2 }}
containers:
  - name: {{ .name }}
    image: {{ include "track-intake.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{ toJson .args }}
    env:
      {{- include "track-intake.env" .root | nindent 6 }}
    securityContext:
      {{- include "track-intake.containerSecurity" .root | nindent 6 }}
    resources:
      {{- toYaml .root.Values.resources | nindent 6 }}
    {{- with include "track-intake.mounts" .root | trim }}
    volumeMounts:
      {{- . | nindent 6 }}
    {{- end }}
{{- with include "track-intake.volumes" .root | trim }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
