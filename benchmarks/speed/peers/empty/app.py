"""A function that does nothing: what Python and Lambda's runtime take by themselves."""

ANSWER = {"statusCode": 200, "body": '{"is_anomaly": true, "predicted_value": -1}'}


def lambda_handler(event, context):
    return ANSWER
