locals {
  # What service.yaml says, too; a test holds both to the settings that the server knows.
  env = {
    ALLOW_ANONYMOUS    = "true" # Cloud Run itself lets only invokers in, see identities.tf
    LOG_FORMAT         = "json"
    FAST_MODEL         = var.fast_model
    SLOW_MODEL         = var.slow_model
    VERTEX_PROJECT     = var.project
    VERTEX_LOCATION    = var.vertex_location
    DEADLINE_S         = tostring(var.deadline_s)
    AUDIT_SINK         = "direct" # the disk dies with the instance
    MIGRATE_AT_START   = "false"  # the job does it
    CLOUDSQL_INSTANCE  = "${var.project}:${var.region}:${google_sql_database_instance.tandem.name}"
    CLOUDSQL_IP_TYPE   = "private"
    DATABASE_IAM       = "true"
    DATABASE_POOL_SIZE = tostring(var.database_pool_size)
  }

  secrets = merge(
    { DATABASE_URL = google_secret_manager_secret.database_url.secret_id },
    var.redis ? { REDIS_URL = google_secret_manager_secret.redis_url[0].secret_id } : {},
  )

  # The job listens nowhere and asks no model.
  job_env = { for name in ["LOG_FORMAT", "CLOUDSQL_INSTANCE", "CLOUDSQL_IP_TYPE", "DATABASE_IAM"] : name => local.env[name] }
}

resource "google_cloud_run_v2_service" "tandem" {
  count = var.image == "" ? 0 : 1

  name                = "tandem"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL" # the uptime check comes from outside; IAM keeps others out
  deletion_protection = var.delete_protection

  scaling {
    min_instance_count = var.min_instances # over all revisions
    max_instance_count = var.max_instances
  }

  template {
    service_account                  = google_service_account.run.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "${var.request_timeout_s}s"
    max_instance_request_concurrency = var.concurrency
    session_affinity                 = true # best effort: a resume finds the instance that has the run

    scaling {
      max_instance_count = var.max_instances # of one revision
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY" # the database and Redis; Google's APIs go their own way

      network_interfaces {
        network    = google_compute_network.tandem.id
        subnetwork = google_compute_subnetwork.run.id
      }
    }

    containers {
      name  = "tandem"
      image = var.image

      ports {
        name           = "http1"
        container_port = 8080
      }

      resources {
        cpu_idle          = false # instance-based billing: records are stored after the last byte, too
        startup_cpu_boost = true

        limits = {
          cpu    = var.cpu
          memory = var.memory
        }
      }

      dynamic "env" {
        for_each = local.env

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.secrets

        content {
          name = env.key

          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      startup_probe { # traffic waits for this: the models are there
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 60

        http_get {
          path = "/health/ready"
        }
      }

      liveness_probe { # a failure kills the instance and its streams, so that only a deaf process may fail it
        period_seconds    = 15
        timeout_seconds   = 5
        failure_threshold = 4

        http_get {
          path = "/health/live"
        }
      }
    }
  }

  # The image and the traffic are the pipeline's. A change of anything else makes a revision without traffic; the next
  # run of the pipeline takes it along.
  lifecycle {
    ignore_changes = [
      client,
      client_version,
      template[0].containers[0].image,
      template[0].revision,
      traffic,
    ]
  }

  depends_on = [
    google_project_iam_member.run,
    google_secret_manager_secret_iam_member.database_url,
    google_secret_manager_secret_iam_member.redis_url,
    google_secret_manager_secret_version.database_url,
    google_secret_manager_secret_version.redis_url,
  ]
}

resource "google_cloud_run_v2_job" "migrate" {
  count = var.image == "" ? 0 : 1

  name                = "tandem-migrate"
  location            = var.region
  deletion_protection = false

  template {
    parallelism = 1
    task_count  = 1

    template {
      service_account       = google_service_account.run.email
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      max_retries           = 1 # harmless: what is applied is not applied again
      timeout               = "600s"

      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"

        network_interfaces {
          network    = google_compute_network.tandem.id
          subnetwork = google_compute_subnetwork.run.id
        }
      }

      containers {
        name  = "migrate"
        image = var.image
        args  = ["migrate"]

        resources {
          limits = {
            cpu    = "1"
            memory = "512Mi"
          }
        }

        dynamic "env" {
          for_each = local.job_env

          content {
            name  = env.key
            value = env.value
          }
        }

        env {
          name = "DATABASE_URL"

          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.database_url.secret_id
              version = "latest"
            }
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version, template[0].template[0].containers[0].image]
  }

  depends_on = [google_project_iam_member.run, google_secret_manager_secret_iam_member.database_url]
}
