variable "project" {
  description = "The Google Cloud project that everything is made in."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project is named by its id: 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "region" {
  description = "The region of the service, the database, Redis and the registry. Models may be elsewhere, see vertex_location."
  type        = string
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region is named as in europe-west1."
  }
}

variable "image" {
  description = "The container image by its digest, for the service's first revision. Empty: everything but the service and the job, for the time before there is an image. Later images are the pipeline's affair."
  type        = string
  default     = ""

  validation {
    condition     = var.image == "" || can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "An image is named by its digest: ...@sha256:..., as the pipeline's step `push` prints it."
  }
}

variable "fast_model" {
  description = "FAST_MODEL: what answers at once."
  type        = string
  default     = "vertex:gemini-3.8-flash"
}

variable "slow_model" {
  description = "SLOW_MODEL: what verifies."
  type        = string
  default     = "vertex:gemini-3.1-pro-preview"
}

variable "vertex_location" {
  description = "VERTEX_LOCATION: where the models run; the newest are in global, us and eu only."
  type        = string
  default     = "global"
}

variable "deadline_s" {
  description = "DEADLINE_S: the bound on a whole run, in seconds."
  type        = number
  default     = 60

  validation {
    condition     = var.deadline_s > 0 && var.deadline_s <= 3000
    error_message = "More than 0, at most 3000: Cloud Run ends a request after an hour."
  }
}

variable "request_timeout_s" {
  description = "When Cloud Run cuts a request, in seconds. At least 30 more than deadline_s: for the queue before a run and a slow reader after it."
  type        = number
  default     = 300

  validation {
    condition     = var.request_timeout_s >= var.deadline_s + 30 && var.request_timeout_s <= 3600
    error_message = "At least deadline_s + 30, at most 3600."
  }
}

variable "min_instances" {
  description = "Instances that are always there, over all revisions. 0 costs nothing and lets the first question wait for a start."
  type        = number
  default     = 1

  validation {
    condition     = var.min_instances >= 0 && var.min_instances <= var.max_instances
    error_message = "From 0 to max_instances."
  }
}

variable "max_instances" {
  description = "Instances at most. What the database must allow follows from it, see sql_max_connections."
  type        = number
  default     = 10

  validation {
    condition     = var.max_instances >= 1 && var.max_instances <= 1000
    error_message = "From 1 to 1000."
  }
}

variable "concurrency" {
  description = "Requests an instance takes at a time. Streams are idle most of the time; measure before you raise it."
  type        = number
  default     = 200

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "From 1 to 1000."
  }
}

variable "cpu" {
  description = "Processors of an instance. One process uses one; more instances are better than more of these."
  type        = string
  default     = "1"
}

variable "memory" {
  description = "Memory of an instance, its files included."
  type        = string
  default     = "1Gi"
}

variable "database_pool_size" {
  description = "DATABASE_POOL_SIZE: connections of an instance for those who read. It opens ten more at most: for the record, stored answers and exports, and for keys and limits where there are any."
  type        = number
  default     = 5

  validation {
    condition     = var.database_pool_size >= 1 && var.database_pool_size <= 100
    error_message = "From 1 to 100."
  }
}

variable "sql_tier" {
  description = "The machine of the database. A connection costs it 5 to 10 MB."
  type        = string
  default     = "db-custom-2-7680"
}

variable "sql_max_connections" {
  description = "max_connections of the database. While a deploy shifts the traffic there may be twice max_instances, each with at most database_pool_size + 10 connections, whatever AUTH and limits are set; 4 are for jobs and 13 reserved."
  type        = number
  default     = 320

  validation {
    condition     = var.sql_max_connections >= 2 * var.max_instances * (var.database_pool_size + 10) + 17
    error_message = "Too few: 2 x max_instances x (database_pool_size + 10) + 17 are needed. Lower these, or put a pooler between."
  }
}

variable "sql_disk_gb" {
  description = "The database's disk at the start, in GB; it grows by itself up to ten times that."
  type        = number
  default     = 20

  validation {
    condition     = var.sql_disk_gb >= 10
    error_message = "At least 10."
  }
}

variable "sql_high_availability" {
  description = "A standby in another zone. Without it a zone's outage is an outage of the record; streams go on."
  type        = bool
  default     = true
}

variable "redis" {
  description = "Whether there is a Redis: stored answers and live runs shared by the instances. Without it each is alone but for PostgreSQL."
  type        = bool
  default     = true
}

variable "redis_memory_gb" {
  description = "Redis' memory, in GB."
  type        = number
  default     = 1

  validation {
    condition     = var.redis_memory_gb >= 1 && var.redis_memory_gb <= 300
    error_message = "From 1 to 300."
  }
}

variable "invokers" {
  description = "Who may call the service, as in group:team@example.com or serviceAccount:...; AUTH is off, so that never allUsers."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setintersection(var.invokers, ["allUsers", "allAuthenticatedUsers"])) == 0
    error_message = "Whoever reaches the service can spend your money while AUTH is off: name people, groups or service accounts."
  }
}

variable "alert_emails" {
  description = "Who is told of alerts."
  type        = set(string)
  default     = []
}

variable "runbook_url" {
  description = "Where RUNBOOK.md can be read; alerts link to its headings."
  type        = string
  default     = "RUNBOOK.md"
}

variable "latency_p95_s" {
  description = "An alert when the 95th percentile of whole requests, streams to their end, is above this, in seconds."
  type        = number
  default     = 45

  validation {
    condition     = var.latency_p95_s > 0
    error_message = "More than 0."
  }
}

variable "delete_protection" {
  description = "Whether the database and the service refuse to be destroyed."
  type        = bool
  default     = true
}
