{{/*
A CronJob: {root, cluster, component, name, when, shards, action} and the parameters of its pod. `when` are the values with
schedule and deadline, `shards` fields of the Job, and `action` follows exit codes that a retry cannot fix.
*/}}
{{- define "postgres-backup.cronjob" -}}
{{- $v := .cluster.values }}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ .name | quote }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "postgres-backup.labels" . | nindent 4 }}
spec:
  schedule: {{ .when.schedule | quote }}
  timeZone: {{ $v.timeZone | quote }}
  suspend: {{ .when.suspend }}
  concurrencyPolicy: {{ .when.concurrencyPolicy | default "Forbid" }}
  {{- with $v.startingDeadlineSeconds }}
  startingDeadlineSeconds: {{ int . }}
  {{- end }}
  successfulJobsHistoryLimit: {{ int $v.successfulJobsHistoryLimit }}
  failedJobsHistoryLimit: {{ int $v.failedJobsHistoryLimit }}
  jobTemplate:
    metadata:
      labels:
        {{- include "postgres-backup.labels" . | nindent 8 }}
    spec:
      {{- range $field, $value := .shards }}
      {{ $field }}: {{ $value }}
      {{- end }}
      {{- with .when.activeDeadlineSeconds }}
      activeDeadlineSeconds: {{ int . }}
      {{- end }}
      {{- if not (kindIs "invalid" $v.ttlSecondsAfterFinished) }}
      ttlSecondsAfterFinished: {{ int $v.ttlSecondsAfterFinished }}
      {{- end }}
      {{- include "postgres-backup.failurePolicy" .action | nindent 6 }}
      template:
        {{- include "postgres-backup.pod" . | trim | nindent 8 }}
{{- end }}

{{/*
A disrupted pod is not a failure, and failures that a retry cannot fix are not retried. Before Kubernetes 1.29, the action
would end the other shards as well; then the argument is empty.
*/}}
{{- define "postgres-backup.failurePolicy" -}}
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    {{- with . }}
    - action: {{ . }}
      # required by the schema until 1.28
      onPodConditions: []
      onExitCodes:
        containerName: backup
        operator: In
        values: [1, 64, 65, 75, 77, 78]
    {{- end }}
{{- end }}
