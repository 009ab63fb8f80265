{{/* An alert with what all of them have: {alert, rule}. */}}
{{- define "postgres-backup.alert" -}}
{{- $labels := mustMergeOverwrite (deepCopy .alert.labels) .rule.alertLabels }}
{{- $annotations := .alert.annotations }}
{{- with .rule.runbookUrl }}
{{- $annotations = merge (dict "runbook_url" (printf "%s#%s" . ($.alert.alert | lower))) $annotations }}
{{- end }}
- alert: {{ .alert.alert }}
  expr: |-
    {{- .alert.expr | trim | nindent 4 }}
  {{- with .alert.for }}
  for: {{ . }}
  {{- end }}
  labels:
    {{- toYaml $labels | nindent 4 }}
  annotations:
    {{- toYaml $annotations | nindent 4 }}
{{- end }}

{{/* A metric of the Jobs that a CronJob made, or somebody by hand from it: {namespace, cronjob, metric}. */}}
{{- define "postgres-backup.jobs" -}}
max by (namespace, job_name) ({{ .metric }})
* on (namespace, job_name) max by (namespace, job_name) (kube_job_owner{namespace="{{ .namespace }}", owner_kind="CronJob", owner_name="{{ .cronjob }}"})
{{- end }}

{{/* When the last success ended, of the CronJob's own Jobs and of those made from it by hand. */}}
{{- define "postgres-backup.succeeded" -}}
{{- $metric := printf "kube_job_status_completion_time{namespace=%q}" .namespace -}}
max by (namespace) (
  kube_cronjob_status_last_successful_time{namespace="{{ .namespace }}", cronjob="{{ .cronjob }}"}
  or
  {{- include "postgres-backup.jobs" (merge (dict "metric" $metric) .) | nindent 2 }}
)
{{- end }}

{{/*
When the newest failure began, unless a success began after that, or, where no Job of a success is left to tell, ended.
*/}}
{{- define "postgres-backup.failed" -}}
{{- $start := printf "kube_job_status_start_time{namespace=%q}" .namespace -}}
{{- $jobs := include "postgres-backup.jobs" (merge (dict "metric" $start) .) -}}
{{- $of := "* on (namespace, job_name) max by (namespace, job_name) (%s{namespace=%q, condition=\"true\"} == 1)" -}}
{{- $failed := printf "max by (namespace) (\n%s\n)" (printf "%s\n%s" $jobs (printf $of "kube_job_failed" .namespace) | indent 2) -}}
{{ $failed }}
unless (
  (
    max by (namespace) (
{{ printf "%s\n%s" $jobs (printf $of "kube_job_complete" .namespace) | indent 6 }}
    )
    or
    max by (namespace) (kube_cronjob_status_last_successful_time{namespace="{{ .namespace }}", cronjob="{{ .cronjob }}"})
  )
  >
{{ $failed | indent 2 }}
)
{{- end }}

{{/* Seconds since the last success, or since there is something that could have succeeded. */}}
{{- define "postgres-backup.age" -}}
time() - (
{{ include "postgres-backup.succeeded" . | indent 2 }}
  or
  max by (namespace) (kube_cronjob_created{namespace="{{ .namespace }}", cronjob="{{ .cronjob }}"})
)
{{- end }}

{{/* Alerts that need no metric of the program. */}}
{{- define "postgres-backup.kubernetesAlerts" -}}
{{- $v := .cluster.values }}
{{- $rule := $v.prometheusRule }}
{{- $name := .cluster.name }}
{{- $job := dict "namespace" .root.Release.Namespace "cronjob" $name }}
- alert: PostgresBackupJobFailed
  expr: |
    {{- include "postgres-backup.failed" $job | nindent 4 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: The last backup of {{ $name }} failed
    description: 'The newest Job of the CronJob {{ $name }} failed, and none succeeded since. Its log says the stage, the cause and the setting to change: kubectl -n {{ "{{ $labels.namespace }}" }} logs -l app.kubernetes.io/component=backup --tail=50'
- alert: PostgresBackupLate
  expr: |
    {{- include "postgres-backup.age" $job | nindent 4 }}
    > {{ mulf $rule.warnAfterHours 3600 | int64 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: No backup of {{ $name }} for more than {{ $rule.warnAfterHours }} hours
    description: 'No Job of the CronJob {{ $name }} succeeded for {{ "{{ $value | humanizeDuration }}" }}. See whether it is suspended, whether its pod was ever started, and what its last log says.'
- alert: PostgresBackupMissing
  expr: |
    {{- include "postgres-backup.age" $job | nindent 4 }}
    > {{ mulf $rule.criticalAfterHours 3600 | int64 }}
  labels: { severity: critical, cronjob: {{ $name | quote }} }
  annotations:
    summary: No backup of {{ $name }} for more than {{ $rule.criticalAfterHours }} hours
    description: 'No Job of the CronJob {{ $name }} succeeded for {{ "{{ $value | humanizeDuration }}" }}. What was written since the last one would be lost with the server. Make a backup by hand, and then find out why.'
{{- range $watched := $v.verify.enabled | ternary (list $name (printf "%s-verify" $name)) (list $name) }}
- alert: PostgresBackupUnwatched
  expr: absent(kube_cronjob_info{namespace="{{ $job.namespace }}", cronjob="{{ $watched }}"})
  for: 15m
  labels: { severity: warning, cronjob: {{ $watched | quote }}, namespace: {{ $job.namespace | quote }} }
  annotations:
    summary: Nobody watches {{ $watched }}
    description: kube-state-metrics shows no CronJob {{ $watched }}. Either it was deleted, or kube-state-metrics is not scraped; the other alerts about it cannot fire.
{{- end }}
{{- if and $v.persistence.enabled (ne (include "postgres-backup.target" $v) "remote") }}
{{- $claim := $v.persistence.existingClaim | default $name }}
- alert: PostgresBackupVolumeFull
  # The kubelet of the node where it is measures a volume, only while a pod has it, and the newest of all nodes counts.
  expr: |
    {{- $of := "last_over_time((max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_%s_bytes{namespace=%q, persistentvolumeclaim=%q}))[%sh:1m])" }}
    {{ printf $of "used" $job.namespace $claim (toString $rule.criticalAfterHours) }}
    / {{ printf $of "capacity" $job.namespace $claim (toString $rule.criticalAfterHours) }}
    > {{ divf $rule.volumePercent 100 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: The volume of the backups of {{ $name }} is nearly full
    description: 'The claim {{ $claim }} is {{ "{{ $value | humanizePercentage }}" }} full. Enlarge it (persistence.size), or keep fewer backups (RETENTION_DAYS).'
{{- end }}
{{- if $v.verify.enabled }}
{{- $verify := dict "namespace" .root.Release.Namespace "cronjob" (printf "%s-verify" $name) }}
- alert: PostgresBackupVerificationFailed
  expr: |
    {{- include "postgres-backup.failed" $verify | nindent 4 }}
  labels: { severity: critical, cronjob: {{ $verify.cronjob | quote }} }
  annotations:
    summary: The last verification of {{ $name }} failed
    description: 'The newest Job of the CronJob {{ $verify.cronjob }} failed, and none succeeded since. Its log says whether a backup is bad (exit code 65) or the verification could not be done. A backup that failed counts as no good one.'
- alert: PostgresBackupVerificationStale
  expr: |
    {{- include "postgres-backup.age" $verify | nindent 4 }}
    > {{ mulf $rule.verifyAfterDays 86400 | int64 }}
  labels: { severity: warning, cronjob: {{ $verify.cronjob | quote }} }
  annotations:
    summary: No verification of {{ $name }} for more than {{ $rule.verifyAfterDays }} days
    description: 'No Job of the CronJob {{ $verify.cronjob }} succeeded for {{ "{{ $value | humanizeDuration }}" }}. Backups are made, and nobody knows whether they restore.'
{{- end }}
{{- end }}

{{/* Alerts about each database, from what the program tells. */}}
{{- define "postgres-backup.programAlerts" -}}
{{- $v := .cluster.values }}
{{- $rule := $v.prometheusRule }}
{{- $name := .cluster.name }}
{{- $source := printf "source=%q" (include "postgres-backup.source" $v) }}
{{- $what := "{{ $labels.database }} of {{ $labels.source }}" }}
- alert: PostgresDatabaseBackupLate
  expr: |
    time() - max by (source, database, target) (pg_backup_last_success_timestamp_seconds{ {{- $source -}} }) > {{ mulf $rule.warnAfterHours 3600 | int64 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'No good backup of {{ $what }} for more than {{ $rule.warnAfterHours }} hours'
    description: 'The newest good {{ "{{ $labels.target }}" }} backup of {{ $what }} is {{ "{{ $value | humanizeDuration }}" }} old (decades: there is none). The log of the last run names it and the cause.'
- alert: PostgresDatabaseBackupMissing
  expr: |
    time() - max by (source, database, target) (pg_backup_last_success_timestamp_seconds{ {{- $source -}} }) > {{ mulf $rule.criticalAfterHours 3600 | int64 }}
  labels: { severity: critical, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'No good backup of {{ $what }} for more than {{ $rule.criticalAfterHours }} hours'
    description: 'The newest good {{ "{{ $labels.target }}" }} backup of {{ $what }} is {{ "{{ $value | humanizeDuration }}" }} old (decades: there is none). Make one by hand, and then find out why.'
- alert: PostgresBackupRunIncomplete
  expr: |
    max by (source, shard) (pg_backup_run_status{ {{- $source -}} }) == 0
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'The last run for {{ "{{ $labels.source }}" }} did not do everything'
    description: 'A database, a target or the pruning failed in the last run for {{ "{{ $labels.source }}" }}; its log names each. What was stored is safe.'
- alert: PostgresBackupMetricsAbsent
  expr: |
    absent(pg_backup_run_completion_timestamp_seconds{ {{- $source -}} })
  for: 26h
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: No run of {{ $name }} ever told its metrics
    description: Prometheus has no metric of the program for {{ $name }}. Set PUSHGATEWAY_URL or METRICS_TEXTFILE, see whether that is scraped with honor_labels, or set prometheusRule.programMetrics to false.
- alert: PostgresBackupSizeAnomaly
  # a database of less than a megabyte may halve as it likes
  expr: |
    abs(
      max by (source, database, target) (pg_backup_stored_bytes{ {{- $source -}} })
      / (quantile_over_time(0.5, (max by (source, database, target) (pg_backup_stored_bytes{ {{- $source -}} }))[14d:1h]) > 1e6)
      - 1
    ) > {{ divf $rule.sizeChangePercent 100 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'The backup of {{ $what }} has another size than usual'
    description: 'The newest {{ "{{ $labels.target }}" }} backup of {{ $what }} differs by {{ "{{ $value | humanizePercentage }}" }} from the median of two weeks. If nobody deleted or loaded that much, look at the database before the older backups are pruned.'
- alert: PostgresBackupStorageFull
  expr: |
    max by (source, target) (pg_backup_storage_used_bytes{ {{- $source -}} })
    / max by (source, target) (pg_backup_storage_capacity_bytes{ {{- $source -}} })
    > {{ divf $rule.volumePercent 100 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'The folder of the backups of {{ "{{ $labels.source }}" }} is nearly full'
    description: 'The volume of BACKUP_DIR is {{ "{{ $value | humanizePercentage }}" }} full. Enlarge it (persistence.size), or keep fewer backups (RETENTION_DAYS).'
- alert: PostgresDatabaseVerificationFailed
  expr: |
    min by (source, database) (pg_backup_verification_status{ {{- $source -}} }) == 0
  labels: { severity: critical, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'The newest verification of {{ $what }} failed'
    description: 'A backup of {{ $what }} does not restore to what was dumped; it counts as no good one any more. Its report says which check failed: backup verify --database.'
{{- if or $v.verify.enabled (include "postgres-backup.isTrue" $v.settings.VERIFY_ENABLED) }}
- alert: PostgresDatabaseVerificationStale
  expr: |
    time() - max by (source, database) (pg_backup_verification_timestamp_seconds{ {{- $source -}} }) > {{ mulf $rule.verifyAfterDays 86400 | int64 }}
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: 'No verification of {{ $what }} for more than {{ $rule.verifyAfterDays }} days'
    description: 'Backups of {{ $what }} are made, and nobody has restored one for {{ "{{ $value | humanizeDuration }}" }}. Look at the Jobs of the verification.'
- alert: PostgresDatabaseNeverVerified
  expr: |
    max by (source, database) (pg_backup_backups{ {{- $source -}} }) > 0
    unless on (source, database)
    pg_backup_verification_timestamp_seconds{ {{- $source -}} }
  for: {{ mulf $rule.verifyAfterDays 24 | int64 }}h
  labels: { severity: warning, cronjob: {{ $name | quote }} }
  annotations:
    summary: '{{ $what }} was never verified'
    description: 'Backups of {{ $what }} are made since more than {{ $rule.verifyAfterDays }} days, and nobody has ever restored one. Look at the Jobs of the verification.'
{{- end }}
{{- end }}

{{/* The label `source` of the program's metrics; empty where the values do not tell it. */}}
{{- define "postgres-backup.source" -}}
{{- $host := include "postgres-backup.text" .settings.POSTGRES_HOST }}
{{- with include "postgres-backup.text" .settings.BACKUP_SOURCE }}
{{- . }}
{{- else }}
{{- if and $host (not (hasKey .secret.keys "POSTGRES_PORT")) (not (hasKey .secret.keys "BACKUP_SOURCE")) }}
{{- printf "%s:%s" $host (include "postgres-backup.text" .settings.POSTGRES_PORT | default "5432") }}
{{- end }}
{{- end }}
{{- end }}
