{{/*
A CronJob: {root, cluster, component, name, when, shards, action} and what its pod takes. `when` are the values with
schedule and deadline, `shards` fields of the Job, and `action` what an exit code does that a retry cannot mend.
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
A pod that was disrupted is no failure, and one that a retry cannot mend is not retried. Where one shard's failure would
end the others (before Kubernetes 1.29), there is no such action, and the argument is empty.
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
      # its schema says required until 1.28
      onPodConditions: []
      onExitCodes:
        containerName: backup
        operator: In
        values: [1, 64, 65, 75, 77, 78]
    {{- end }}
{{- end }}
