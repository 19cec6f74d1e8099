# `terraform test`: everything is planned and applied against a Google that is made up; nothing is reached.

mock_provider "google" {}

variables {
  project      = "my-project"
  image        = "europe-west1-docker.pkg.dev/my-project/tandem/tandem@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  alert_emails = ["oncall@example.com"]
  invokers     = ["group:users@example.com"]
}

run "everything" {
  command = apply
}

run "before_there_is_an_image" {
  command = plan

  variables {
    image = ""
    redis = false
  }

  assert {
    condition     = length(google_cloud_run_v2_service.tandem) + length(google_cloud_run_v2_job.migrate) == 0
    error_message = "There is no service without an image."
  }

  assert {
    condition     = !contains(keys(local.secrets), "REDIS_URL") && !contains(keys(local.thresholds), "tandem-redis-memory")
    error_message = "Nothing speaks of a Redis that is not there."
  }
}

run "what_does_not_fit_is_refused" {
  command = plan

  variables {
    image               = "tandem:latest"
    sql_max_connections = 316
    request_timeout_s   = 80
    invokers            = ["allUsers"]
    min_instances       = 11
  }

  expect_failures = [
    var.image,
    var.sql_max_connections,
    var.request_timeout_s,
    var.invokers,
    var.min_instances,
  ]
}
