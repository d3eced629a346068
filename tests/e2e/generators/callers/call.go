package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"

	"gateway"
)

func main() {
	configuration := gateway.NewConfiguration()
	configuration.Servers = gateway.ServerConfigurations{{URL: os.Args[1]}}
	api := gateway.NewAPIClient(configuration).PredictAPI
	ctx := context.Background()

	photo, err := os.Open(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	uploaded, _, err := api.Predict(ctx).Image([]*os.File{photo}).Execute()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("multipart", uploaded.PredictionResponse.GetLabel())

	data, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	fields := gateway.NewPredictFields()
	fields.SetImage(base64.StdEncoding.EncodeToString(data))
	sent, _, err := api.PredictJson(ctx).PredictFields(*fields).Execute()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("json", sent.PredictionResponse.GetLabel())
}
